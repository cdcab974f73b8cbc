//! The README's table of commands is made from the command table; `UPDATE=1` writes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use torc::command::table;

const BEGIN: &str = "from the command table -->\n";
const END: &str = "<!-- end of commands -->";

#[test]
fn readme_names_every_command() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(&path).expect("the README is there");
    let begin = text.find(BEGIN).expect("the table's beginning is marked") + BEGIN.len();
    let end = text.find(END).expect("the table's end is marked");
    let wanted = commands();
    if std::env::var_os("UPDATE").is_some() {
        let updated = format!("{}{wanted}{}", &text[..begin], &text[end..]);
        std::fs::write(&path, updated).expect("the README can be written");
    } else {
        assert!(text[begin..end] == wanted, "run: UPDATE=1 cargo test --test torc readme");
    }
}

fn commands() -> String {
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let table = table();
    for row in table.rows().iter().filter(|row| row.parent.is_none()) {
        let name = row.full_name.to_ascii_uppercase();
        let subs: Vec<_> =
            row.subrows.iter().map(|id| table.row(*id).command.name.to_ascii_uppercase()).collect();
        let shown = if subs.is_empty() { name } else { format!("{name} ({})", subs.join(", ")) };
        groups.entry(row.command.group.name()).or_default().push(shown);
    }
    let mut text = String::from("\n| group | commands |\n|---|---|\n");
    for (group, mut names) in groups {
        names.sort();
        writeln!(text, "| {group} | {} |", names.join(", ")).expect("writing to a string does not fail");
    }
    text.push('\n');
    text
}
