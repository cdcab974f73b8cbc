//! A library of functions: its text, what its first line says, what it has registered; and all libraries together.
//!
//! Design: a set of libraries is never changed but replaced by another one, so that whoever has one goes on with it. Names of
//! functions are one for all libraries and regardless of case, those of libraries are not.
//!
//! Not here: running a library (`functions`), which set is in force (`script_state`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};

use ahash::RandomState;

use super::shebang::ScriptFlags;
use crate::config::split_line;

/// A function that a library has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub description: Option<Vec<u8>>,
    /// What it may do, and must not.
    pub flags: ScriptFlags,
}

/// A library.
#[derive(Debug)]
pub struct Library {
    /// No other has it, nor had: interpreters know by it what they have loaded.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// The whole text.
    pub text: Arc<[u8]>,
    /// Where its code begins.
    pub code: usize,
    /// What it has registered.
    pub functions: Vec<Function>,
    /// Its functions keep something from run to run, so that they run in one interpreter for all.
    keeps_state: AtomicBool,
}

impl Library {
    /// A library that was run once.
    pub fn new(number: u64, text: &[u8], head: Head, functions: Vec<Function>, keeps_state: bool) -> Self {
        let Head { name, code } = head;
        Self { number, name, text: text.into(), code, functions, keeps_state: AtomicBool::new(keeps_state) }
    }

    /// Whether its functions keep something from run to run.
    #[inline]
    pub fn keeps_state(&self) -> bool {
        self.keeps_state.load(Acquire)
    }

    /// They do; whether that is news.
    pub fn note_state(&self) -> bool {
        !self.keeps_state.swap(true, Release)
    }
}

/// What a library's first line says.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// Its name.
    pub name: String,
    /// Where its code begins: at the end of the line, so that lines keep their numbers.
    pub code: usize,
}

/// Why a name is none.
pub const BAD_NAME: &str = "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// A name of a library or function, if it can be one.
pub fn checked_name(name: &[u8]) -> Option<String> {
    let is_name = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    is_name.then(|| String::from_utf8_lossy(name).into_owned())
}

/// Reads the first line of a library.
pub fn read_head(text: &[u8]) -> Result<Head, String> {
    const INVALID: &str = "Invalid library metadata";
    if !text.starts_with(b"#!") {
        return Err("Missing library metadata".to_owned());
    }
    let code = memchr::memchr(b'\n', text).ok_or(INVALID)?;
    let words = split_line(&text[..code]).ok_or(INVALID)?;
    let (engine, options) = words.split_first().ok_or(INVALID)?;
    let mut name = None;
    for option in options {
        let is_name = option.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"name="));
        if !is_name {
            return Err(format!("Invalid metadata value given: {}", String::from_utf8_lossy(option)));
        }
        if name.replace(&option[5..]).is_some() {
            return Err("Invalid metadata value, name argument was given multiple times".to_owned());
        }
    }
    let name = name.ok_or("Library name was not given")?;
    let name = checked_name(name).ok_or(BAD_NAME)?;
    let engine = engine.get(2..).unwrap_or_default();
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err(format!("Engine '{}' not found", String::from_utf8_lossy(engine)));
    }
    Ok(Head { name, code })
}

/// Libraries whose names, and those of their functions, are different.
#[derive(Clone, Debug, Default)]
pub struct LibrarySet {
    libraries: BTreeMap<String, Arc<Library>>,
    /// By the name in small letters: the library, and which of its functions.
    functions: HashMap<Box<[u8]>, (Arc<Library>, usize), RandomState>,
}

impl LibrarySet {
    /// All, by their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Library>> {
        self.libraries.values()
    }

    /// The function of this name.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&(Arc<Library>, usize)> {
        const SHORT: usize = 64;
        let mut short = [0; SHORT];
        match short.get_mut(..name.len()) {
            Some(lower) => {
                lower.copy_from_slice(name);
                lower.make_ascii_lowercase();
                self.functions.get(&*lower)
            }
            None => self.functions.get(&*name.to_ascii_lowercase()),
        }
    }

    /// The library of this name.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Library>> {
        self.libraries.get(std::str::from_utf8(name).ok()?)
    }

    /// How many libraries there are, and how many functions.
    pub fn counts(&self) -> (usize, usize) {
        (self.libraries.len(), self.iter().map(|library| library.functions.len()).sum())
    }

    /// Bytes of all texts and names.
    pub fn bytes(&self) -> usize {
        let of = |function: &Function| {
            size_of::<Function>()
                + 2 * function.name.len()
                + function.description.as_ref().map_or(0, Vec::len)
        };
        let bytes = |library: &Arc<Library>| {
            size_of::<Library>() + library.text.len() + library.functions.iter().map(of).sum::<usize>()
        };
        self.iter().map(bytes).sum()
    }

    /// Adds a library, in the place of the one of its name. Fails where one of its functions has the name of another library's.
    pub fn add(&mut self, library: Arc<Library>) -> Result<(), String> {
        self.remove(library.name.as_bytes());
        for function in &library.functions {
            if self.find(function.name.as_bytes()).is_some() {
                return Err(format!("Function {} already exists", function.name));
            }
        }
        for (index, function) in library.functions.iter().enumerate() {
            let name = function.name.to_ascii_lowercase().into_bytes().into_boxed_slice();
            // Names that differ by case only may be of one library: the first is found.
            self.functions.entry(name).or_insert_with(|| (Arc::clone(&library), index));
        }
        self.libraries.insert(library.name.clone(), library);
        Ok(())
    }

    /// Removes the library of this name, if there is one.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some(library) = self.get(name).cloned() else { return false };
        self.functions.retain(|_, (of, _)| of.number != library.number);
        self.libraries.remove(&library.name);
        true
    }

    /// Whether a library of this number is among them.
    pub fn has(&self, library: &Library) -> bool {
        self.libraries.get(&library.name).is_some_and(|there| there.number == library.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(number: u64, name: &str, functions: &[&str]) -> Arc<Library> {
        let head = Head { name: name.to_owned(), code: 0 };
        let function = |name: &&str| Function {
            name: (*name).to_owned(),
            description: None,
            flags: ScriptFlags::default(),
        };
        Arc::new(Library::new(number, b"", head, functions.iter().map(function).collect(), false))
    }

    #[test]
    fn first_line_says_engine_and_name() {
        let head = |text: &str| read_head(text.as_bytes());
        assert_eq!(head("#!LUA  Name='a_1' \nx"), Ok(Head { name: "a_1".into(), code: 18 }));
        for (text, error) in [
            ("x", "Missing library metadata"),
            ("#!lua name=a", "Invalid library metadata"),
            ("#!lua name='a\n", "Invalid library metadata"),
            ("#!\n", "Library name was not given"),
            ("#!lua name=\n", BAD_NAME),
            ("#!js name=a\n", "Engine 'js' not found"),
            ("#!lua name=a more\n", "Invalid metadata value given: more"),
        ] {
            assert_eq!(head(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn names_of_functions_are_one_for_all_libraries() {
        let mut set = LibrarySet::default();
        set.add(library(1, "one", &["f", "F", "g"])).expect("nothing is there");
        assert_eq!(set.find(b"F").map(|(of, index)| (of.number, *index)), Some((1, 0)));
        assert_eq!(set.add(library(2, "two", &["h", "G"])), Err("Function G already exists".to_owned()));
        assert!(set.find(b"h").is_none() && set.get(b"two").is_none());
        set.add(library(3, "one", &["g"])).expect("it takes the place of the one before");
        assert!(set.find(b"f").is_none());
        assert_eq!(set.counts(), (1, 1));
        assert!(set.remove(b"one") && !set.remove(b"one") && set.find(b"g").is_none());
    }
}
