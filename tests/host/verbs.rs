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
    let mut doctor = localmart();
    let output = doctor
        .arg("doctor")
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
    let doctor = |changed: &str| {
        let file = folder.join(changed);
        std::fs::write(&file, "").unwrap();
        std::fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(later)
            .unwrap();
        let mut doctor = localmart();
        printed(&doctor.arg("doctor").current_dir(&folder).output().unwrap())
    };
    let said = doctor("components/examples/tax-js/index.js");
    assert!(!said.contains("wrong"), "{said}");
    let said = doctor("components/tax/Cargo.toml");
    assert!(said.contains("older than their sources"), "{said}");
}

#[test]
fn doctor_sees_grants_that_are_not_the_sum() {
    built();
    let folder = scratch("grants");
    let manifest = std::fs::read_to_string(root().join("spin.toml")).unwrap();
    let manifest = manifest.replace(
        "sqlite_databases = [\"order\", \"user\", \"cart\", \"payment\", \"inventory\", \"catalog\", \"bus\"]",
        "sqlite_databases = [\"order\", \"user\", \"cart\", \"payment\", \"inventory\", \"other\", \"bus\"]",
    );
    let manifest = manifest.replace(
        "source = \"dist/",
        &format!("source = \"{}/dist/", root().display()),
    );
    std::fs::write(folder.join("spin.toml"), manifest).unwrap();
    let output = localmart()
        .arg("doctor")
        .current_dir(&folder)
        .output()
        .unwrap();
    let said = printed(&output);
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("need the database `catalog`")
            && said.contains("granted the database `other`"),
        "{said}"
    );
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
