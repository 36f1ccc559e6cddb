//! The commit of a checkout, read from its `.git` folder without the git program. The build script uses this module too.

use std::path::{Path, PathBuf};

/// How many digits of a commit hash are shown.
const DIGITS: usize = 12;

/// The abbreviated commit that is checked out in a folder, and the files whose change means another commit. There is no commit
/// in a source archive, in an empty repository, or if the branches are stored in a format that this function does not know.
pub(crate) fn checked_out(folder: &Path) -> (Option<String>, Vec<PathBuf>) {
    let Some(git) = git_folder(folder) else {
        return (None, Vec::new());
    };
    let head = git.join("HEAD");
    let Ok(text) = std::fs::read_to_string(&head) else {
        return (None, Vec::new());
    };
    let Some(branch) = text.trim().strip_prefix("ref: ") else {
        return (abbreviated(&text), vec![head]);
    };
    // A worktree has a `HEAD` of its own and shares the branches of its repository.
    let shared = std::fs::read_to_string(git.join("commondir"));
    let shared = shared.map_or_else(|_| git.clone(), |path| git.join(path.trim()));
    let file = shared.join(branch);
    if let Ok(text) = std::fs::read_to_string(&file) {
        return (abbreviated(&text), vec![head, file]);
    }
    // The next commit creates the file of the branch.
    let packed = shared.join("packed-refs");
    let commit = packed_commit(&packed, branch);
    let folder = file.parent().map(Path::to_owned);
    let files = [Some(head), Some(packed), folder].into_iter().flatten();
    (commit, files.filter(|path| path.exists()).collect())
}

/// The repository of a checkout: `.git`, or the folder that a file `.git` names.
fn git_folder(folder: &Path) -> Option<PathBuf> {
    let git = folder.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = std::fs::read_to_string(git).ok()?;
    Some(folder.join(text.trim().strip_prefix("gitdir: ")?))
}

/// The commit of a branch in `packed-refs`, whose lines are `<commit> <branch>`.
fn packed_commit(file: &Path, branch: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let (commit, _) = lines.find(|(_, name)| *name == branch)?;
    abbreviated(commit)
}

fn abbreviated(commit: &str) -> Option<String> {
    let commit = commit.trim();
    let is_hash = commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    commit.get(..DIGITS).filter(|_| is_hash).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    /// A folder with these files.
    fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("commit-{name}-{}", std::process::id()));
        // Left from an earlier process with the same id, if it exists at all.
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).unwrap();
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[track_caller]
    fn check(
        name: &str,
        files: &[(&str, &str)],
        checkout: &str,
        commit: Option<&str>,
        watched: &[&str],
    ) {
        let root = folder(name, files);
        let (found, paths) = checked_out(&root.join(checkout));
        let whole = |path: &PathBuf| path.canonicalize().unwrap();
        let expected: Vec<PathBuf> = watched.iter().map(|path| whole(&root.join(path))).collect();
        assert_eq!(found.as_deref(), commit);
        assert_eq!(paths.iter().map(whole).collect::<Vec<_>>(), expected);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_branch_has_a_file() {
        let files = [
            (".git/HEAD", "ref: refs/heads/main\n"),
            (".git/refs/heads/main", &format!("{ONE}\n")),
            (".git/packed-refs", &format!("{TWO} refs/heads/main\n")),
        ];
        let watched = [".git/HEAD", ".git/refs/heads/main"];
        check("branch", &files, "", Some("111111111111"), &watched);
    }

    #[test]
    fn a_packed_branch_gets_a_file_with_the_next_commit() {
        let packed =
            format!("# pack-refs with: peeled\n{TWO} refs/heads/mainly\n{ONE} refs/heads/main\n");
        let files = [
            (".git/HEAD", "ref: refs/heads/main\n"),
            (".git/refs/heads/.keep", ""),
            (".git/packed-refs", &packed),
        ];
        let watched = [".git/HEAD", ".git/packed-refs", ".git/refs/heads"];
        check("packed", &files, "", Some("111111111111"), &watched);
    }

    #[test]
    fn a_checkout_without_a_branch_has_the_commit_in_head() {
        let files = [(".git/HEAD", ONE)];
        check("detached", &files, "", Some("111111111111"), &[".git/HEAD"]);
    }

    #[test]
    fn a_worktree_shares_the_branches() {
        let files = [
            ("side/.git", "gitdir: ../main/.git/worktrees/side\n"),
            ("main/.git/worktrees/side/HEAD", "ref: refs/heads/side\n"),
            ("main/.git/worktrees/side/commondir", "../..\n"),
            ("main/.git/refs/heads/side", ONE),
        ];
        let watched = ["main/.git/worktrees/side/HEAD", "main/.git/refs/heads/side"];
        check("worktree", &files, "side", Some("111111111111"), &watched);
    }

    #[test]
    fn a_source_archive_and_an_empty_repository_have_no_commit() {
        // The archive is unpacked inside another repository.
        let archive = [(".git/HEAD", ONE), ("archive/README.md", "the sources")];
        check("archive", &archive, "archive", None, &[]);
        let empty = [(".git/HEAD", "ref: refs/heads/main\n")];
        check("empty", &empty, "", None, &[".git/HEAD"]);
        let strange = [(".git/HEAD", "no commit"), (".git/config", "")];
        check("strange", &strange, "", None, &[".git/HEAD"]);
    }
}
