//! Manual pages and completions of shells, made from the options and the table of directives: a package carries them,
//! and a directive that is added is in them.
//!
//! Not here: `--help` (`usage`), the pages' place (`packaging/`).

use std::fmt::Write as _;

use super::domain::Domain;
use super::table::{Config, Directive, Flags, table};
use super::usage::{ACTIONS, DESCRIPTION, EXAMPLES, default_shown, values};
use super::{REDIS_VERSION, TORC_VERSION};

/// A manual page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// torc(1).
    Program,
    /// torc.conf(5).
    Configuration,
}

/// A shell that completes words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

/// Whether a directive is of a section.
type IsOf = fn(&Directive) -> bool;

impl Page {
    /// By the name of its file without the section.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"torc" => Some(Self::Program),
            b"torc.conf" => Some(Self::Configuration),
            _ => None,
        }
    }

    /// Its text, for man.
    pub fn text(self) -> String {
        match self {
            Self::Program => program(),
            Self::Configuration => configuration(),
        }
    }
}

impl Shell {
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"bash" => Some(Self::Bash),
            b"zsh" => Some(Self::Zsh),
            b"fish" => Some(Self::Fish),
            _ => None,
        }
    }

    /// What completes `torc` in it.
    pub fn completion(self) -> String {
        match self {
            Self::Bash => bash(),
            Self::Zsh => zsh(),
            Self::Fish => fish(),
        }
    }
}

/// A text that means nothing else to roff.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

fn head(name: &str, section: u8, what: &str) -> String {
    format!(
        ".TH {} {section} \"\" \"Torc {TORC_VERSION}\"\n.SH NAME\n{} \\- {}\n",
        name.to_uppercase(),
        escaped(name),
        escaped(what)
    )
}

fn program() -> String {
    let mut text = head("torc", 1, DESCRIPTION);
    text.push_str(
        ".SH SYNOPSIS\n.B torc\n[\\fIFILE\\fR] [\\fB\\-\\-\\fIdirective value\\fR...]... [\\fB\\-\\fR]\n",
    );
    let about = format!(
        "Serves clients of Redis {REDIS_VERSION} and older. The configuration is read from FILE, then from the standard input where there is a \
         dash, then from the options, each over what came before; every directive of torc.conf(5) is an option."
    );
    push_paragraph(&mut text, "DESCRIPTION", &about);
    text.push_str(".SH OPTIONS\n");
    for (option, help) in ACTIONS {
        // Writing to a string does not fail.
        writeln!(text, ".TP\n.B {}\n{}", escaped(option), escaped(help)).unwrap_or_default();
    }
    text.push_str(".SH SIGNALS\n");
    for (signal, help) in [
        (
            "SIGTERM, SIGINT",
            "Saves what is to be saved, as shutdown-on-sigterm and shutdown-on-sigint say, and ends.",
        ),
        (
            "SIGHUP",
            "Reads the configuration, secrets, certificates and keys again. What changed and can, counts from then on; the log \
          says what needs a restart.",
        ),
    ] {
        writeln!(text, ".TP\n.B {}\n{}", escaped(signal), escaped(help)).unwrap_or_default();
    }
    text.push_str(".SH ENVIRONMENT\n");
    for (name, help) in [
        (
            "NOTIFY_SOCKET, WATCHDOG_USEC",
            "The service manager that is told of the server's state, and how long it may be silent.",
        ),
        (
            "LISTEN_FDS, LISTEN_FDNAMES",
            "Sockets that are listened on instead of those of the configuration; one called tls serves TLS.",
        ),
        (
            "CREDENTIALS_DIRECTORY",
            "Where the file of a secret is (requirepass-file) whose name has no slash.",
        ),
    ] {
        writeln!(text, ".TP\n.B {}\n{}", escaped(name), escaped(help)).unwrap_or_default();
    }
    text.push_str(".SH EXAMPLES\n.nf\n");
    EXAMPLES.iter().for_each(|example| writeln!(text, "{}", escaped(example)).unwrap_or_default());
    text.push_str(".fi\n.SH SEE ALSO\n.BR torc.conf (5)\n");
    text
}

fn push_paragraph(text: &mut String, title: &str, words: &str) {
    writeln!(text, ".SH {title}\n{}", escaped(words)).unwrap_or_default();
}

fn configuration() -> String {
    let mut text = head("torc.conf", 5, "the configuration of torc");
    push_paragraph(
        &mut text,
        "DESCRIPTION",
        "A directive and its values on each line, in the syntax of redis.conf; lines that begin with # are comments, \
         and 'include FILE' reads another file. A file of Redis or Valkey is one, too. A directive that holds a \
         secret can be given as NAME-file FILE instead, whose only line is the secret.",
    );
    let default = Config::default();
    let sections: [(&str, IsOf); 3] = [
        ("TORC'S OWN DIRECTIVES", |directive| directive.flags.has(Flags::OWN)),
        ("DIRECTIVES OF REDIS", |directive| {
            !directive.flags.has(Flags::OWN) && !directive.flags.has(Flags::INERT)
        }),
        ("DIRECTIVES WITHOUT EFFECT", |directive| directive.flags.has(Flags::INERT)),
    ];
    for (title, is_of) in sections {
        writeln!(text, ".SH {title}").unwrap_or_default();
        for directive in table().iter().filter(|directive| is_of(directive)) {
            push_directive(&mut text, directive, &default);
        }
    }
    text.push_str(".SH SEE ALSO\n.BR torc (1)\n");
    text
}

fn push_directive(text: &mut String, directive: &Directive, default: &Config) {
    let name = escaped(directive.name);
    let values = escaped(&values(directive));
    writeln!(text, ".TP\n\\fB{name}\\fR {values}\n{}", escaped(directive.help)).unwrap_or_default();
    let mut notes = Vec::new();
    let shown = default_shown(directive, default);
    if !shown.is_empty() {
        notes.push(format!("Default: {shown}."));
    }
    notes.extend(directive.alias.map(|alias| format!("Also called {alias}.")));
    if directive.flags.has(Flags::SENSITIVE) {
        notes.push(format!("{}-file FILE reads it from a file.", directive.name));
    }
    if !directive.flags.has(Flags::MUTABLE) {
        notes.push("A change needs a restart.".to_owned());
    }
    if !notes.is_empty() {
        writeln!(text, "{}", escaped(&notes.join(" "))).unwrap_or_default();
    }
}

/// The options that begin with two dashes, directives among them, with the words that may follow.
fn options() -> Vec<(String, &'static str, Vec<&'static str>)> {
    let of_action = |(option, help): &(&'static str, &'static str)| {
        let name = option.split([' ', ',']).find(|word| word.starts_with("--"))?;
        Some((name.to_owned(), *help, Vec::new()))
    };
    let of_directive = |directive: &Directive| {
        let words = match directive.domain {
            Domain::Bool => vec!["yes", "no"],
            Domain::Words(words) => words.to_vec(),
            _ => Vec::new(),
        };
        (format!("--{}", directive.name), directive.help, words)
    };
    ACTIONS.iter().filter_map(of_action).chain(table().iter().map(of_directive)).collect()
}

fn bash() -> String {
    let options = options();
    let names: Vec<&str> = options.iter().map(|(name, ..)| name.as_str()).collect();
    let mut cases = String::new();
    for (name, _, words) in options.iter().filter(|(.., words)| !words.is_empty()) {
        writeln!(cases, "    {name}) words='{}' ;;", words.join(" ")).unwrap_or_default();
    }
    format!(
        "# Completion of torc for bash.\n_torc() {{\n    local current=${{COMP_WORDS[COMP_CWORD]}} words=\n    case ${{COMP_WORDS[COMP_CWORD-1]}} in\n\
         {cases}    esac\n    case $current in\n    -*) words='{}' ;;\n    esac\n    \
         if [ -n \"$words\" ]; then\n        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n    \
         else\n        mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n    fi\n}}\ncomplete -o filenames -F _torc torc\n",
        names.join(" ")
    )
}

/// A text within single quotes.
fn in_quotes(text: &str) -> String {
    text.replace('\'', "'\\''")
}

fn zsh() -> String {
    let mut text = String::from("#compdef torc\n# Completion of torc for zsh.\n_arguments \\\n");
    for (name, help, words) in options() {
        let help = in_quotes(help).replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
        let values = if words.is_empty() { "_files".to_owned() } else { format!("({})", words.join(" ")) };
        writeln!(text, "  '*{name}[{help}]:value:{values}' \\").unwrap_or_default();
    }
    text.push_str("  '1:configuration:_files'\n");
    text
}

fn fish() -> String {
    let mut text = String::from("# Completion of torc for fish.\n");
    for (name, help, words) in options() {
        let (name, help) = (name.trim_start_matches('-'), in_quotes(help));
        let words = if words.is_empty() { String::new() } else { format!(" -xa '{}'", words.join(" ")) };
        writeln!(text, "complete -c torc -l {name} -d '{help}'{words}").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directive_is_in_pages_and_completions() {
        let page = Page::Configuration.text();
        for directive in table() {
            let name = escaped(directive.name);
            assert!(page.contains(&format!("\\fB{name}\\fR")), "{}", directive.name);
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                assert!(shell.completion().contains(directive.name), "{} {shell:?}", directive.name);
            }
        }
        let program = Page::Program.text();
        for (option, _) in ACTIONS {
            assert!(program.contains(&escaped(option)), "{option}");
        }
    }
}
