//! The other verbs of the command line.

use crate::harness::{Shop, built, localmart, printed, root, scratch};

#[test]
fn routes_lists_who_answers_where() {
    let state = scratch("routes");
    let mut routes = localmart();
    let output = routes
        .arg("routes")
        .arg("-f")
        .arg(root().join("spin.toml"))
        .arg("--state-dir")
        .arg(state)
        .output()
        .unwrap();
    let said = printed(&output);
    assert!(
        output.status.success()
            && said.contains("  order: /api/orders (wildcard)\n")
            && said.contains("  order: /internal/order/sweep\n"),
        "{said}"
    );
}

#[test]
fn doctor_is_content_with_this_repository() {
    built();
    let mut doctor = doctor();
    let output = doctor
        .arg("-f")
        .arg(root().join("spin.toml"))
        .arg("--state-dir")
        .arg(scratch("doctor"))
        .output()
        .unwrap();
    let said = printed(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("order:") && said.contains("exports") && !said.contains("wrong"),
        "{said}"
    );
}

#[test]
fn only_the_sources_of_a_component_make_it_old() {
    built();
    let folder = scratch("sources");
    for place in ["components/tax", "components/examples/tax-js", "dist"] {
        std::fs::create_dir_all(folder.join(place)).unwrap();
    }
    std::fs::write(folder.join("components/tax/Cargo.toml"), "").unwrap();
    std::fs::write(
        folder.join("spin.toml"),
        "spin_manifest_version = 2\n[application]\nname = \"one\"\n[trigger]\n[component.tax]\nsource = \"dist/tax.wasm\"\n",
    )
    .unwrap();
    let wasm = std::fs::read(root().join("dist/tax.wasm")).unwrap();
    std::fs::write(folder.join("dist/tax.wasm"), wasm).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    let checked = |changed: &str| {
        let file = folder.join(changed);
        std::fs::write(&file, "").unwrap();
        std::fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(later)
            .unwrap();
        printed(&doctor().current_dir(&folder).output().unwrap())
    };
    let said = checked("components/examples/tax-js/index.js");
    assert!(!said.contains("wrong"), "{said}");
    let said = checked("components/tax/Cargo.toml");
    assert!(said.contains("older than their sources"), "{said}");
}

#[test]
fn doctor_sees_grants_that_are_not_the_sum() {
    built();
    let folder = scratch("grants");
    let manifest = std::fs::read_to_string(root().join("spin.toml")).unwrap();
    let (before, order) = manifest.split_once("[component.order]").unwrap();
    let (order, after) = order.split_once("[component.user]").unwrap();
    let mut order = order.to_owned();
    let mut change = |from: &str, to: &str| {
        assert!(order.contains(from), "{from}");
        order = order.replacen(from, to, 1);
    };
    change(
        "\"inventory\", \"catalog\", \"bus\"]",
        "\"inventory\", \"other\", \"bus\"]",
    );
    change(
        "\nallowed_outbound_hosts = [",
        "\nallowed_outbound_hosts = [\"https://example.com\", ",
    );
    change("\ncart_ttl = ", "\nstray = \"1\"\ncart_ttl = ");
    let manifest = format!("{before}[component.order]{order}[component.user]{after}");
    let manifest = manifest.replace(
        "source = \"dist/",
        &format!("source = \"{}/dist/", root().display()),
    );
    std::fs::write(folder.join("spin.toml"), manifest).unwrap();
    let output = doctor().current_dir(&folder).output().unwrap();
    let said = printed(&output);
    assert!(!output.status.success(), "{said}");
    for part in [
        "`order` and its links need `catalog`: add it to sqlite_databases of `order`",
        "`order` is granted `other`, which neither it nor a link needs: remove it from sqlite_databases",
        "is granted `https://example.com:443`",
        "is granted `stray`",
        "4 problems",
    ] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    // The example's links have no grants that it could miss.
    let folder = scratch("no-grants");
    let component = |id: &str, more: &str| {
        format!(
            "[component.{id}]\nsource = \"{}/dist/tax.wasm\"\n{more}",
            root().display()
        )
    };
    let manifest = format!(
        "spin_manifest_version = 2\n[application]\nname = \"one\"\n[trigger]\n{}{}",
        component("one", "[component.one.tool.localmart]\nlinks = [\"two\"]\n"),
        component("two", "")
    );
    std::fs::write(folder.join("spin.toml"), manifest).unwrap();
    let said = printed(&doctor().current_dir(&folder).output().unwrap());
    assert!(!said.contains("tool.localmart.own"), "{said}");
}

#[test]
fn doctor_checks_ports_files_disk_and_clock() {
    built();
    let state = scratch("machine");
    let used = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let used = used.local_addr().unwrap().to_string();
    let doctor = |listen: &str, before: &str| {
        let script = format!("{before}; exec \"$0\" \"$@\"");
        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(script).arg(localmart().get_program());
        shell.args([
            "doctor",
            "--observe-listen",
            "127.0.0.1:0",
            "--listen",
            listen,
            "-f",
        ]);
        shell.arg(root().join("spin.toml"));
        shell.arg("--state-dir").arg(&state);
        let output = shell.output().unwrap();
        (output.status.success(), printed(&output))
    };
    let (fine, said) = doctor("127.0.0.1:0", ":");
    assert!(fine, "{said}");
    for part in [
        "is free",
        "files can be open",
        "MiB are free for",
        "the clock is not behind",
    ] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    let (fine, said) = doctor(&used, ":");
    assert!(
        !fine
            && said.contains(&format!("wrong cannot listen on {used}"))
            && said.contains("--listen"),
        "{said}"
    );
    let (fine, said) = doctor("127.0.0.1:0", "ulimit -n 256");
    assert!(
        !fine && said.contains("wrong only 256 files can be open"),
        "{said}"
    );
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let file = std::fs::File::create(state.join("order.db-journal")).unwrap();
    file.set_modified(later).unwrap();
    let (fine, said) = doctor("127.0.0.1:0", ":");
    assert!(
        !fine && said.contains("wrong the clock is wrong: ") && said.contains("order.db-journal"),
        "{said}"
    );
    let shop = Shop::start();
    let (fine, said) = doctor(shop.base.strip_prefix("http://").unwrap(), ":");
    assert!(
        !fine && said.contains("ok    a shop of yours is serving"),
        "{said}"
    );
}

/// Doctor for a shop that takes any free ports.
fn doctor() -> std::process::Command {
    let mut doctor = localmart();
    let any = "127.0.0.1:0";
    doctor.args(["doctor", "--listen", any, "--observe-listen", any]);
    doctor
}

#[cfg(target_os = "linux")]
#[test]
fn a_shop_raises_its_limit_of_open_files() {
    let shop = Shop::start();
    let limits = |process: &str| {
        let text = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
        let line = text.lines().find(|line| line.starts_with("Max open files"));
        let words: Vec<u64> = line
            .unwrap()
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        (words[0], words[1])
    };
    let (soft, hard) = limits(&shop.pid().to_string());
    assert!(soft >= hard.min(65_536), "{soft} of {hard}");
}

#[test]
fn the_version_names_the_commit() {
    let output = localmart().arg("--version").output().unwrap();
    let said = printed(&output);
    assert!(said.starts_with("localmart 0."), "{said}");
    let git = std::process::Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .current_dir(root())
        .output();
    match git {
        Ok(git) if git.status.success() => {
            let commit = String::from_utf8(git.stdout).unwrap();
            assert!(
                said.contains(commit.trim()),
                "{said} does not contain {commit}"
            );
        }
        _ => eprintln!("skipped: this is no git checkout"),
    }
}

#[test]
fn completions_are_for_the_commands_that_exist() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = localmart().args(["completions", shell]).output().unwrap();
        let script = printed(&output);
        assert!(output.status.success(), "{script}");
        for verb in ["swap", "doctor", "completions", "canary"] {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
    }
    let script = "source <(\"$0\" completions bash); COMP_WORDS=(localmart promo); COMP_CWORD=1; \
        _localmart localmart promo localmart; echo \"${COMPREPLY[@]}\"";
    let mut bash = std::process::Command::new("bash");
    let bash = bash.arg("-c").arg(script).arg(localmart().get_program());
    match bash.output() {
        Ok(output) => assert_eq!(printed(&output), "promote\n"),
        Err(_) => eprintln!("skipped: there is no bash"),
    }
    let output = localmart().args(["completions", "tcsh"]).output().unwrap();
    assert!(!output.status.success() && printed(&output).contains("possible values: bash"));
}

#[test]
fn secrets_are_made_once_and_are_nobody_elses() {
    let state = scratch("secrets");
    let secrets = || {
        let mut secrets = localmart();
        printed(
            &secrets
                .arg("secrets")
                .arg("-f")
                .arg(root().join("spin.toml"))
                .arg("--state-dir")
                .arg(&state)
                .output()
                .unwrap(),
        )
    };
    let first = secrets();
    assert_eq!(first, secrets());
    for name in [
        "jwt_private_key",
        "jwt_public_key",
        "sweep_token",
        "order_token_key",
        "payment_webhook_secret",
        "admin_password",
    ] {
        assert!(first.contains(&format!("{name} = \"")), "{first}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(state.join("secrets.toml"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn migrations_are_applied_once_and_never_edited() {
    built();
    let state = scratch("migrate");
    let migrate = || {
        let mut migrate = localmart();
        printed(
            &migrate
                .arg("migrate")
                .arg("-f")
                .arg(root().join("spin.toml"))
                .arg("--state-dir")
                .arg(&state)
                .output()
                .unwrap(),
        )
    };
    let applied = migrate();
    let count = applied.strip_suffix(" migrations applied\n");
    assert!(
        count.is_some_and(|count| count.parse::<u32>().unwrap() > 10),
        "{applied}"
    );
    assert_eq!(migrate(), "0 migrations applied\n");
    let database = rusqlite::Connection::open(state.join("order.db")).unwrap();
    database
        .execute("UPDATE migrations SET checksum = 'x'", [])
        .unwrap();
    assert!(migrate().contains("the migration kit_0001_events was edited after it was applied"));
    drop(Shop::start());
}

#[test]
fn two_builds_at_once_do_not_disturb_each_other() {
    built();
    let outputs = crate::harness::at_once(4, |_| {
        localmart()
            .arg("build")
            .current_dir(root())
            .output()
            .unwrap()
    });
    for output in outputs {
        assert!(output.status.success(), "{}", printed(&output));
    }
}

#[test]
fn a_reader_who_goes_away_is_no_panic() {
    built();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut routes = localmart();
    routes.arg("routes").arg("-f").arg(root().join("spin.toml"));
    routes.arg("--state-dir").arg(scratch("pipe"));
    let output = routes.stdout(writer).output().unwrap();
    assert_eq!(
        (output.status.code(), printed(&output)),
        (Some(141), String::new())
    );
}
