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

/// The pages for those who run it.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    let entries = std::fs::read_dir(root.join("docs")).expect("it is there");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    pages.extend(paths.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    let text = |path: &std::path::PathBuf| std::fs::read_to_string(path).expect("it is text");
    pages.iter().map(|path| (path.display().to_string(), text(path))).collect()
}

#[test]
fn pages_name_directives_that_there_are() {
    let mut count = 0;
    for (page, text) in pages() {
        for block in text.split("```conf\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            for line in block.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let name = line.split(' ').next().unwrap_or_default();
                let known = |name: &str| torc::config::lookup(name.as_bytes()).is_some();
                assert!(known(name) || name.strip_suffix("-file").is_some_and(known), "{page}: {line}");
                count += 1;
            }
        }
    }
    assert!(count > 5, "only {count} lines");
}

#[test]
fn pages_name_files_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let parts = ["bench/", "docs/", "packaging/", "src/", "systemd/", "tests/", "tuning/"];
    for (page, text) in pages() {
        let words = text.split('`').skip(1).step_by(2).map(|word| word.split(' ').next().unwrap_or(word));
        for word in words.filter(|word| parts.iter().any(|part| word.starts_with(part))) {
            let is_pattern = word.contains(['*', '<'])
                || word.chars().any(|c| c.is_ascii_uppercase()) && !word.ends_with(".md");
            assert!(is_pattern || root.join(word).exists(), "{page}: {word}");
        }
    }
}
