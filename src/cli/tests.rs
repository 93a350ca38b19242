use clap::CommandFactory;

use super::*;

#[test]
fn the_flags_are_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn help_of_each_command() {
    let mut pending = vec![Arguments::command().term_width(100)];
    let mut shown = String::new();
    while let Some(mut command) = pending.pop() {
        command.build();
        // The version changes with each release, and the help must not.
        let short = command.render_help();
        let long = command.render_long_help();
        let name = command.get_bin_name().unwrap_or("countersign").to_owned();
        shown += &format!("===== {name} -h\n{short}\n===== {name} --help\n{long}\n");
        pending.extend(command.get_subcommands().filter(|c| c.get_name() != "help").cloned());
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn the_starter_config_runs_as_it_is() {
    let config = crate::config::parse(init::CONFIG, std::path::Path::new(".")).unwrap();
    assert!(config.listen.ip().is_loopback());
    assert_eq!(config.servers["demo"].mcp.to_string(), "http://127.0.0.1:9000/mcp");
}

/// What the starter config shows in comments is the default, or a valid example.
#[test]
fn what_the_starter_config_comments_out_is_valid_too() {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("support-bot.token", "k7Qw9ZpL2mXv4RtY"),
        ("ann.token", "p3Yt8LmQ5nWc2XsA"),
        ("hook.secret", "whsec_cDNZdDhMbVE1bldjMlhzQXAzWXQ4TG1RNW5XYzJYc0E="),
        ("demo.credential", "Bearer k7Qw9ZpL2mXv4RtY"),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let text: String = init::CONFIG
        // Nobody has these in the environment; what a reviewer has is no agent's.
        .replace("{env: ANN_TOKEN}", "{file: ./ann.token}")
        .replace("{env: WEBHOOK_SECRET}", "{file: ./hook.secret}")
        .lines()
        .filter(|line| !line.contains("{env: "))
        .map(uncommented)
        // The example of `tls` is for a server that speaks it.
        .map(|line| line.replace("mcp: http:", "mcp: https:") + "\n")
        .collect();
    let config = crate::config::parse(&text, directory.path()).unwrap();
    let plain = crate::config::parse(init::CONFIG, directory.path()).unwrap();
    assert_eq!((config.limits, config.sync), (plain.limits, plain.sync));
    assert_eq!((config.drain, config.policy.deadline), (plain.drain, plain.policy.deadline));
    assert!(config.tls.is_some() && config.otlp.is_some() && config.agents.len() == 4);
    assert!(config.servers["demo"].credential.is_some() && config.issuers.len() == 1);
}

// A comment that is a key, an item, or the inside of such: `# key: …` or `# - {…}`; prose stays.
fn uncommented(line: &str) -> String {
    let Some((indent, rest)) = line.split_once("# ") else { return line.to_owned() };
    let word = rest.trim_start().trim_start_matches("- ").trim_start_matches('{');
    let key: String = word.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
    let is_key = !key.is_empty() && word[key.len()..].starts_with(':');
    if indent.trim().is_empty() && is_key { format!("{indent}{rest}") } else { line.to_owned() }
}
