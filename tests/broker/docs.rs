//! What the documents say, compared with what the program says of itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::node::Node;

const SETTINGS: &str = include_str!("../../docs/reference/settings.md");

#[tokio::test]
async fn every_reason_that_ends_a_stream_has_its_row_on_the_page() {
    let page = include_str!("../../docs/reference/streams-end.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix('|'))
        .map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    let (header, rows) = rows.split_first().unwrap();
    let documented: BTreeSet<&str> = rows.iter().map(|row| row[0]).collect();
    let text = Node::embedded().await.metrics().await;
    let series = format!("pipecast_streams_closed_total{{{}=\"", header[0]);
    let counted: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix(&series)?.split_once('"')).map(|(reason, _)| reason).collect();
    assert_eq!(documented, counted);
    for row in rows {
        assert_eq!(row.len(), header.len(), "{row:?}");
        let setting = row[row.len() - 1];
        assert!(setting.is_empty() || SETTINGS.contains(&format!("\n| `{setting}` |")), "{setting} is not a setting");
    }
}

#[test]
fn plans_in_the_page_on_capacity_are_what_the_program_says() {
    let page = include_str!("../../docs/operate/capacity.md");
    let plans: Vec<_> = page
        .split("```text\n$ pipecast plan ")
        .skip(1)
        .filter_map(|rest| rest.split_once("\n```")?.0.split_once('\n'))
        .collect();
    assert!(plans.len() >= 4, "{plans:?}");
    for (arguments, plan) in plans {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipecast"));
        let output = command.arg("plan").args(arguments.split(' ')).env_clear().output().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap().trim_end(),
            plan,
            "bench/capacity --page regenerates it: {arguments}"
        );
    }
}

#[test]
fn costs_in_the_page_on_capacity_are_those_that_are_built_in() {
    fn leaves(name: &str, value: &serde_json::Value, found: &mut Vec<(String, f64)>) {
        match value {
            serde_json::Value::Object(parts) => {
                let dot = if name.is_empty() { "" } else { "." };
                parts.iter().for_each(|(part, value)| leaves(&format!("{name}{dot}{part}"), value, found));
            }
            value => found.extend(value.as_f64().map(|number| (name.to_owned(), number))),
        }
    }
    let page = include_str!("../../docs/operate/capacity.md");
    let mut costs = Vec::new();
    leaves("", &serde_json::from_str(include_str!("../../src/cli/plan/costs.json")).unwrap(), &mut costs);
    costs.retain(|(name, _)| !name.starts_with("check.") && !name.starts_with("measured."));
    assert!(costs.len() > 20, "{costs:?}");
    for (name, cost) in costs {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let shown =
            row.and_then(|row| row.trim_end_matches(" |").rsplit("| ").next()).map(|text| text.replace(',', ""));
        assert_eq!(
            shown.and_then(|text| text.parse().ok()),
            Some(cost),
            "bench/capacity --page regenerates it: {name}"
        );
    }
}

/// All source files below a folder of the project.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "node_modules") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn rooms_import_only_rooms_below_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let tour = std::fs::read_to_string(source.join("lib.rs")).unwrap();
    let list = tour.split("//! ```").nth(1).unwrap();
    let rooms: Vec<_> = list.lines().skip(1).filter_map(|line| line.strip_prefix("//! ")).collect();
    assert!(rooms.len() > 15, "{rooms:?}");
    let rank = |room: &str| rooms.iter().position(|known| *known == room);
    let mut imports = 0;
    for path in rust_files("src") {
        let inside = path.strip_prefix(&source).unwrap().with_extension("");
        let room = inside.iter().next().unwrap().to_str().unwrap();
        if matches!(room, "lib" | "main") {
            continue;
        }
        let own = rank(room).unwrap_or_else(|| panic!("src/lib.rs does not list {room}"));
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for word in line.split("crate::").skip(1) {
                let end = word.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(word.len());
                let Some(imported) = rank(&word[..end]) else { continue };
                assert!(imported >= own, "{}: {room} is below {}", path.display(), rooms[imported]);
                imports += 1;
            }
        }
    }
    assert!(imports > 300, "{imports} imports");
}

/// The pages of docs/design that name tests, by their path in the project.
fn pages_that_name_tests(root: &Path) -> Vec<PathBuf> {
    let design = root.join("docs/design");
    let records = std::fs::read_dir(design.join("decisions")).unwrap().map(|entry| entry.unwrap().path());
    records.chain(["threat-model.md", "reliability.md"].map(|page| design.join(page))).collect()
}

#[test]
fn every_test_that_the_design_pages_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = rust_files("src").into_iter().chain(rust_files("tests"));
    let sources: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let mut tests = 0;
    for path in pages_that_name_tests(root) {
        let page = std::fs::read_to_string(&path).unwrap();
        let words = || page.split('`').skip(1).step_by(2);
        // Names of tests are sentences; some settings and metrics have as many words.
        let is_setting = |word: &str| SETTINGS.contains(&format!("\n| `{word}` |")) || word.starts_with("pipecast_");
        for test in words().filter_map(|word| word.rsplit("::").next()) {
            if test.matches('_').count() >= 3 && !is_setting(test) {
                assert!(sources.contains(&format!("fn {test}(")), "{} names {test}, which is nowhere", path.display());
                tests += 1;
            }
        }
        for file in words().filter(|word| word.starts_with("src/")) {
            assert!(root.join(file).exists(), "{} names {file}, which does not exist", path.display());
        }
    }
    assert!(tests > 150, "{tests} tests");
}
