//! `stockroom payments-simulator` as a person starts it. What it does to orders is tried among the faults.

use crate::kit::{run, stdout};

#[test]
fn what_it_needs_is_said_before_anything_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = directory.path().join("provider.ledger");
    let refused = |arguments: &[&str]| {
        let ledger = ["--ledger", ledger.to_str().unwrap()];
        let all = [&["payments-simulator", "--listen", "127.0.0.1:0"], &ledger[..], arguments].concat();
        let output = run(directory.path(), &all);
        assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--secret", "x"]).contains("--notify"));
    assert!(refused(&["--notify", "http://127.0.0.1:1/"]).contains("--secret"));
    assert!(refused(&["--notify", "http://127.0.0.1:1/", "--secret", ""]).contains("--secret"));
    assert!(refused(&["--notify", "ftp://127.0.0.1/", "--secret", "x"]).contains("not http or https"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert!(!ledger.exists(), "nothing was opened");
    let right = ["--notify", "http://127.0.0.1:1/", "--secret", "x", "--ledger", ledger.to_str().unwrap()];
    let busy = run(directory.path(), &[&["payments-simulator", "--listen", &address], &right[..]].concat());
    assert_eq!(busy.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&busy.stderr).contains("cannot listen on"));
}

#[test]
fn a_damaged_ledger_is_a_finding_and_the_help_lists_the_codes() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = directory.path().join("provider.ledger");
    std::fs::write(&ledger, "00000000 {}\n").unwrap();
    let arguments = ["payments-simulator", "--listen", "127.0.0.1:0", "--notify", "http://127.0.0.1:1/"];
    let secret = ["--secret", "x", "--ledger", ledger.to_str().unwrap()];
    let damaged = run(directory.path(), &[&arguments[..], &secret[..]].concat());
    let said = String::from_utf8_lossy(&damaged.stderr).into_owned();
    assert_eq!(damaged.status.code(), Some(4), "{said}");
    assert!(said.contains("damaged at line 1"), "{said}");
    let help = stdout(&run(directory.path(), &["payments-simulator", "--help"]));
    for code in [0, 1, 2, 4, 6] {
        assert!(help.contains(&format!("\n  {code}  ")), "{help}");
    }
}
