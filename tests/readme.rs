//! The README's table of commands is what the command table says. `UPDATE=1` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

const BEGIN: &str = "<!-- commands:";
const END: &str = "<!-- end of commands -->";

fn table() -> String {
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let table = torc::command::table();
    for row in table.rows().iter().filter(|row| row.parent.is_none()) {
        let mut name = row.command.name.to_ascii_uppercase();
        if !row.command.subcommands.is_empty() {
            let mut names: Vec<String> =
                row.command.subcommands.iter().map(|row| row.name.to_ascii_uppercase()).collect();
            names.sort_unstable();
            write!(name, " ({})", names.join(", ")).expect("memory takes it");
        }
        groups.entry(row.command.group.name()).or_default().push(name);
    }
    let mut text = "\n| group | commands |\n|---|---|\n".to_owned();
    for (group, names) in &mut groups {
        names.sort_unstable();
        writeln!(text, "| {group} | {} |", names.join(", ")).expect("memory takes it");
    }
    text.push('\n');
    text
}

#[test]
fn readme_lists_the_commands() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).expect("there is a README");
    let begin = readme.find(BEGIN).expect("the README has the table's place");
    let begin = begin + readme[begin..].find('\n').expect("the line ends") + 1;
    let end = readme.find(END).expect("the table's place ends");
    if std::env::var_os("UPDATE").is_some() {
        let updated = format!("{}{}{}", &readme[..begin], table(), &readme[end..]);
        std::fs::write(&path, updated).expect("the README can be written");
    } else {
        assert_eq!(readme[begin..end], table(), "UPDATE=1 cargo test --test torc readme writes it anew");
    }
}
