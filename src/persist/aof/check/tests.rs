//! Single files of each form; whole directories are checked beside Redis's tool in `tests/aof.rs`.

use std::fs;
use std::path::PathBuf;

use super::super::store::tests::TempDir;
use super::Check;

const PING: &str = "*1\r\n$4\r\nPING\r\n";
const MULTI: &str = "*1\r\n$5\r\nMULTI\r\n";
const EXEC: &str = "*1\r\n$4\r\nEXEC\r\n";

struct Case {
    dir: TempDir,
}

impl Case {
    fn new(text: &str) -> Self {
        let dir = TempDir::new();
        fs::write(dir.path().join("a.aof"), text).expect("it can be written");
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("a.aof")
    }

    /// What is said, and why it is not whole.
    fn check(&self, fixes: bool, until_s: Option<i64>, agrees: bool) -> (String, Option<String>) {
        let (mut said, mut asked) = (String::new(), 0);
        let mut say = |line: &str| said.push_str(&format!("{line}\n"));
        let mut ask = |_: &str| {
            asked += 1;
            agrees
        };
        let mut check = Check { fixes, until_s, now_ms: 0, say: &mut say, ask: &mut ask };
        let outcome = check.run(&self.path());
        assert!(asked <= u32::from(fixes), "asked {asked} times");
        let place = self.dir.path().display().to_string() + "/";
        (said.replace(&place, ""), outcome.err().map(|error| error.to_string().replace(&place, "")))
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).expect("it is text")
    }
}

#[test]
fn whole_file_is_reported() {
    let case = Case::new(&["#TS:5\r\n", PING, MULTI, PING, EXEC].concat());
    let said = "a.aof: 64 bytes, 4 commands, 1 transactions, last time 5\n";
    assert_eq!(case.check(false, None, false), (said.to_owned(), None));
    assert_eq!(Case::new("").check(false, None, false).1, None);
}

#[test]
fn end_that_is_not_whole_is_cut_off_if_that_is_wanted() {
    let cases: [(&[&str], usize, &str); 6] = [
        (&[PING, "*1\r\n$4\r\nPI"], 14, "the file ends in a word"),
        (&[PING, "\0\0\0\0"], 14, "'*' was expected, not 0x00, at offset 14"),
        (&[PING, MULTI, PING], 14, "the file ends in a transaction"),
        (&[PING, MULTI, PING, "*1\r\n$"], 14, "the file ends in the length of a word"),
        (&[PING, EXEC, PING], 14, "EXEC without MULTI, at offset 14"),
        (&[MULTI, PING, MULTI, EXEC], 0, "MULTI within a transaction, at offset 29"),
    ];
    for (pieces, whole, fault) in cases {
        let text = pieces.concat();
        let case = Case::new(&text);
        let lost = text.len() - whole;
        let error = format!("a.aof, at offset {whole}: {fault}: --fix cuts off the last {lost} bytes");
        assert_eq!(case.check(false, None, true).1, Some(error));
        let error = case.check(true, None, false).1.expect("nobody agreed");
        assert!(error.ends_with("nothing was changed"), "{error}");
        assert_eq!(case.text(), text);
        let (said, error) = case.check(true, None, true);
        assert!(error.is_none(), "{error:?}");
        let cut = format!("a.aof: cut from {} to {whole} bytes\n", text.len());
        assert!(said.ends_with(&cut), "{said}");
        assert_eq!(case.text(), text[..whole]);
        assert_eq!(case.check(false, None, false).1, None);
    }
}

#[test]
fn what_was_written_later_is_cut_off() {
    let text = [PING, "#TS:100\r\n", PING, "#TS:200\r\n", MULTI, "#TS:300\r\n", PING, EXEC].concat();
    let case = Case::new(&text);
    let (said, error) = case.check(false, Some(300), false);
    assert_eq!(error, None);
    assert!(said.ends_with("a.aof: nothing was written after 300\n"), "{said}");
    // Not within a transaction.
    assert_eq!(case.check(false, Some(250), false).1, None);
    assert_eq!(case.text(), [PING, "#TS:100\r\n", PING, "#TS:200\r\n"].concat());
    assert_eq!(case.check(false, Some(150), false).1, None);
    assert_eq!(case.text(), [PING, "#TS:100\r\n", PING].concat());
    let case = Case::new(&["#TS:100\r\n", PING].concat());
    let error = case.check(false, Some(50), false).1;
    assert_eq!(error.as_deref(), Some("a.aof: has nothing that was written up to 50"));
    let case = Case::new(&["#TS:10x\r\n", PING].concat());
    let error = case.check(false, Some(50), false).1;
    assert_eq!(error.as_deref(), Some("a.aof, at offset 0: Invalid timestamp annotation"));
    assert_eq!(case.check(false, None, false).1, None);
}

#[test]
fn commands_behind_an_rdb_file_are_checked() {
    let rdb = "REDIS0003\u{0}\u{1}k\u{1}v";
    let with_end = |tail: &[u8]| [rdb.as_bytes(), b"\xff", tail].concat();
    for (tail, error) in [
        (&b""[..], None),
        (b"*1\r\n$4\r\nPING\r\n", None),
        (
            b"*1\r\n",
            Some("a.aof, at offset 15: the file ends between words: --fix cuts off the last 4 bytes"),
        ),
    ] {
        let case = Case::new("");
        fs::write(case.path(), with_end(tail)).expect("it can be written");
        let (said, found) = case.check(false, None, false);
        assert_eq!(found.as_deref(), error);
        assert!(said.contains("    database 0: 1 keys (1 string)"), "{said}");
    }
    let error = Case::new(rdb).check(true, None, true).1;
    assert_eq!(error.as_deref(), Some("a.aof, at offset 14: the file was cut short"));
}

#[test]
fn manifest_is_checked_with_its_files() {
    let case = Case::new("# x\nfile b seq 1 type b\nfile i1 seq 1 type i\nfile i2 seq 2 type i\n");
    let write =
        |name: &str, text: &str| fs::write(case.dir.path().join(name), text).expect("it can be written");
    let error = case.check(true, None, true).1.expect("files are missing");
    assert!(error.starts_with("b: cannot be opened: "), "{error}");
    write("b", "");
    write("i1", &[PING, "*1"].concat());
    write("i2", PING);
    let error = case.check(true, None, true).1.expect("another follows");
    assert!(
        error.starts_with("i1, at offset 14: ") && error.ends_with("since other files follow"),
        "{error}"
    );
    let error = case.check(false, None, true).1.expect("it is torn");
    assert!(error.ends_with("--fix cuts off the last 2 bytes"), "{error}");
    write("i2", "");
    let (said, error) = case.check(true, None, true);
    assert_eq!(error, None);
    assert!(said.starts_with("a.aof: 3 files to load, 0 to remove\n"), "{said}");
    assert!(said.ends_with("All files and the manifest are whole\n"), "{said}");
    write("i1", &["#TS:9\r\n", PING].concat());
    write("i2", PING);
    let error = case.check(false, Some(5), false).1.expect("all is later");
    assert_eq!(error, "i1: has nothing that was written up to 5");
    write("i1", &[PING, "#TS:9\r\n", PING].concat());
    let error = case.check(false, Some(5), false).1.expect("another follows");
    assert!(error.contains("and other files follow"), "{error}");
    fs::write(case.path(), "file b seq 1\n").expect("it can be written");
    let error = case.check(false, None, false).1;
    assert_eq!(error.as_deref(), Some("a.aof, line 1: Invalid AOF manifest file format"));
}
