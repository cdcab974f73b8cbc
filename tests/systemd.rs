//! The units: what systemd's own tools say of them, and that the template of instances is the unit.
//!
//! Where those tools are missing (`tests/run` installs them) that is said, and nothing is checked.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::{TORC, TempDir};

/// Ten times what systemd calls the exposure: it is to be 1.5 at most.
const EXPOSURE_MAX: &str = "15";

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

/// What `systemd-analyze` says; none where it is not there.
fn analyze(args: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(args).output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("NOT CHECKED, systemd-analyze cannot be run (package systemd): {error}");
            None
        }
    }
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

#[test]
fn units_expose_as_little_as_they_promise() {
    for name in ["torc.service", "torc@.service"] {
        let path = unit(name);
        let args = ["security", "--no-pager", "--offline=true", "--threshold", EXPOSURE_MAX];
        let Some(output) = analyze(&[&args[..], &[&path.to_string_lossy()]].concat()) else { return };
        assert!(output.status.success(), "{name}: {}", said(&output));
        assert!(said(&output).contains("Overall exposure level"), "{}", said(&output));
    }
    // The check can fail.
    let dir = TempDir::new();
    let path = dir.path().join("bare.service");
    std::fs::write(&path, "[Service]\nExecStart=/bin/true\n").expect("it can be written");
    let args = ["security", "--offline=true", "--threshold", EXPOSURE_MAX, &path.to_string_lossy()];
    let Some(output) = analyze(&args) else { return };
    assert!(!output.status.success(), "{}", said(&output));
}

#[test]
fn systemd_understands_every_line() {
    let dir = TempDir::new();
    let kill = ["/usr/bin/kill", "/bin/kill"].into_iter().find(|path| Path::new(path).exists());
    for name in ["torc.service", "torc@.service", "torc.socket", "torc-tuning.service"] {
        let text = std::fs::read_to_string(unit(name)).expect("it is there");
        // What is not installed here is elsewhere.
        let text = text.replace("/usr/bin/torc", TORC).replace("/usr/lib/torc/tuning/all", "/bin/true");
        let text = text.replace("/usr/bin/kill", kill.unwrap_or("/bin/true"));
        std::fs::write(dir.path().join(name), text).expect("it can be written");
    }
    for name in ["torc.service", "torc@one.service", "torc.socket", "torc-tuning.service"] {
        let path = dir.path().join(name);
        let Some(output) = analyze(&["verify", "--man=no", &path.to_string_lossy()]) else { return };
        let said = said(&output);
        let ours: Vec<&str> =
            said.lines().filter(|line| line.contains(&*dir.path().to_string_lossy())).collect();
        assert!(ours.is_empty(), "{name}: {}", ours.join("\n"));
    }
}

/// Lines that say something, but for those that have to differ.
fn lines(name: &str) -> Vec<String> {
    const OWN: [&str; 4] = ["Description=", "ExecStart=", "StateDirectory=", "RuntimeDirectory="];
    let text = std::fs::read_to_string(unit(name)).expect("it is there");
    let says = |line: &&str| {
        !line.is_empty() && !line.starts_with('#') && !OWN.iter().any(|own| line.starts_with(own))
    };
    text.lines().filter(says).map(str::to_owned).collect()
}

#[test]
fn template_is_the_unit() {
    assert_eq!(lines("torc@.service"), lines("torc.service"));
    assert!(lines("torc.service").len() > 40);
}
