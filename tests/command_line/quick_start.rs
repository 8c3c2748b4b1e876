//! The README's quick start, as it is printed there: the commands are taken from the file and run by a shell.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::kit::{Node, run, stdout};

/// The indented block under a headline of the README, without its indentation.
fn block_under(headline: &str) -> String {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, section) = readme.split_once(&format!("\n## {headline}\n")).expect("the README has this section");
    let lines = section.lines().skip_while(|line| !line.starts_with("    "));
    let lines = lines.map_while(|line| line.strip_prefix("    ")).collect::<Vec<_>>();
    assert!(!lines.is_empty(), "{headline} has a block of commands");
    lines.join("\n")
}

/// What a shell prints for these commands, as JSON documents.
fn shell(commands: &str) -> Vec<Value> {
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", commands]).output().unwrap();
    assert!(output.status.success(), "{commands}\n{}", String::from_utf8_lossy(&output.stderr));
    let printed = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    printed.collect::<Result<_, _>>().unwrap()
}

#[test]
fn what_the_readme_says_buys_something_once_and_it_is_still_there_after_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::demo(data.path());
    let address = node.ready["http"].as_str().unwrap().to_owned();
    let printed_address = "127.0.0.1:8080";
    let block = block_under("Buy something");
    assert!(block.contains(printed_address), "{block}");
    let commands = block.replace(printed_address, &address);
    let (_, last) = commands.split_once("\ncurl -fsS $SHOP/orders ").expect("it ends with an order");
    let first = shell(&format!("curl -fsS 'http://{address}/v1/products?limit=1'"));
    let all = stdout(&run(data.path(), &["catalog", "demo"])).lines().count();
    assert_eq!(first[0]["total"], all, "a shop that says it is ready shows everything at once");
    let answers = shell(&format!("{commands}\ncurl -fsS $SHOP/orders {last}"));

    let [.., order, again] = answers.as_slice() else { panic!("an order, and the order again: {answers:#?}") };
    assert_eq!((&order["state"], &order["lines"][0]["quantity"]), (&"confirmed".into(), &2.into()), "{order:#}");
    assert_eq!(order, again, "a retry never buys twice");
    drop(node);

    let node = Node::start(data.path(), &["--listen", &address]);
    let read = format!("SHOP=http://{address}/v1\ncurl -fsS $SHOP/orders/{}", order["id"].as_str().unwrap());
    assert_eq!(shell(&read), std::slice::from_ref(order));
    drop(node);
}
