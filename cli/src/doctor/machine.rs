//! Whether this machine can run the shop: free ports, enough open files and disk space, a clock that is right, servers that answer.

use super::Finding;
use crate::app::Stores;
use crate::open_files::{NEEDED, allowed};
use localmart_guest::config::EMBEDDED;
use localmart_guest::sql::Connection as _;
use localmart_host::app::App;
use localmart_host::control::socket;
use localmart_host::serve::bind;
use localmart_stores::{Postgres, now};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The disk space that a shop should have for databases and compiled components, in bytes.
const FREE_BYTES: u64 = 1 << 30;
/// How far two clocks may differ: tokens, leases and reservations last for minutes.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(10);

/// Whether the addresses are free, or used by a running shop of this user.
pub(super) fn ports(listen: SocketAddr, observe: Option<SocketAddr>) -> Vec<Finding> {
    if listen.port() != 0 && socket::running().contains(&listen.port()) {
        return vec![Ok(format!("a shop of yours is serving {listen}"))];
    }
    let free = |address: SocketAddr, flag: &str| match bind(address, flag) {
        Ok(_) => Ok(format!("{address} is free")),
        Err(error) => Err(format!("{error:#}")),
    };
    let listen = free(listen, "--listen");
    let observe = observe.map(|address| free(address, "--observe-listen"));
    std::iter::once(listen).chain(observe).collect()
}

/// Whether a shop can have enough files and connections open.
pub(super) fn open_files() -> Finding {
    match allowed() {
        u64::MAX => Ok("the number of open files is not limited".to_owned()),
        allowed if allowed >= NEEDED => Ok(format!("up to {allowed} files can be open")),
        allowed => Err(format!(
            "only {allowed} files can be open, connections included: raise the hard limit to {NEEDED} or more, with LimitNOFILE= in a systemd unit or in /etc/security/limits.conf"
        )),
    }
}

/// Whether there is disk space where the state folder is, or is going to be.
pub(super) fn disk(state_dir: &Path) -> Finding {
    let state_dir = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
    let shown = state_dir.display();
    let exists = state_dir.ancestors().find(|folder| folder.exists());
    let found = rustix::fs::statvfs(exists.unwrap_or(&state_dir));
    let free = match found {
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
        Err(error) => return Err(format!("the disk of {shown} cannot be read: {error}")),
    };
    let mib = free >> 20;
    if free < FREE_BYTES {
        Err(format!(
            "only {mib} MiB are free for {shown}: free {} MiB or more, or choose another folder with --state-dir",
            FREE_BYTES >> 20
        ))
    } else {
        Ok(format!("{mib} MiB are free for {shown}"))
    }
}

/// Whether the clock is later than what was written before: this program and the files of the state folder.
pub(super) fn clock(state_dir: &Path) -> Finding {
    let files = std::fs::read_dir(state_dir).into_iter().flatten().flatten();
    let files = files
        .map(|entry| entry.path())
        .chain(std::env::current_exe());
    let written = files.filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file)));
    let now = SystemTime::now();
    match written.max() {
        Some((time, file)) if time > now + CLOCK_TOLERANCE => Err(format!(
            "the clock is wrong: {} was written {} s later than now; synchronise the clock, for example with timedatectl set-ntp true",
            file.display(),
            time.duration_since(now).unwrap_or_default().as_secs()
        )),
        _ => Ok("the clock is not behind the files of the shop".to_owned()),
    }
}

/// Whether the servers that the shop uses answer, and whether the clock of the database server is that of this machine.
pub(super) fn servers(app: &App) -> Vec<Finding> {
    let (stores, mut findings) = (Stores::of(app), Vec::new());
    if app.tool.is_none() {
        // Variables of these names may mean anything in another application.
        return findings;
    }
    if stores.database_url != EMBEDDED {
        let time = postgres_time(&stores.database_url);
        findings.push(time.and_then(|server| compared(server, SystemTime::now())));
    }
    if stores.redis_url != EMBEDDED {
        let redis = stores.check_redis().map_err(|error| format!("{error:#}"));
        findings.push(redis.map(|()| "the Redis server answers".to_owned()));
    }
    findings
}

fn postgres_time(url: &str) -> Result<SystemTime, String> {
    let server = Postgres::open(url, "public").map_err(|error| {
        format!("{error}: start it, or leave database_url out to use SQLite files")
    })?;
    let sql = "SELECT CAST(1000 * extract(epoch FROM clock_timestamp()) AS bigint) AS now";
    let rows = now(server.query(sql, &[])).map_err(|error| error.to_string())?;
    let rows =
        rows.map_err(|error| format!("the Postgres server cannot tell the time: {error}"))?;
    let time = rows.first().and_then(|row| row.get("now").ok());
    let time = time.ok_or_else(|| "the Postgres server cannot tell the time".to_owned())?;
    Ok(UNIX_EPOCH + Duration::from_millis(time))
}

fn compared(server: SystemTime, here: SystemTime) -> Finding {
    let (difference, which) = match server.duration_since(here) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if difference > CLOCK_TOLERANCE {
        Err(format!(
            "the clock of the Postgres server is {} s {which} the clock of this machine: synchronise both, for example with NTP",
            difference.as_secs()
        ))
    } else {
        Ok("the Postgres server answers, and its clock agrees with this machine".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_are_reported_with_the_direction() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let second = Duration::from_secs(1);
        assert!(compared(now + second, now).is_ok() && compared(now, now + second).is_ok());
        let ahead = compared(now + 90 * second, now).err().unwrap();
        assert!(ahead.contains("is 90 s ahead of the clock"), "{ahead}");
        let behind = compared(now, now + 90 * second).err().unwrap();
        assert!(behind.contains("is 90 s behind the clock"), "{behind}");
    }

    #[test]
    fn a_folder_that_does_not_exist_yet_has_the_disk_of_its_parent() {
        let found = disk(&std::env::temp_dir().join("no/such/folder"));
        assert!(found.is_ok() || found.is_err_and(|said| said.starts_with("only")));
    }
}
