use super::*;
use std::fs;

fn dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("qu-keys-{name}-{}", std::process::id()));
    drop(fs::remove_dir_all(&dir));
    dir
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn both_kinds_of_key_are_written_with_their_modes_and_load_again() {
    for kind in [KeyKind::Rsa3072, KeyKind::EcdsaP256] {
        let dir = dir(&kind.to_string());
        let made = make(kind).unwrap();
        write(&dir, &made).unwrap();
        let (keys, warnings) = load(&dir).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(keys.fingerprint(), cert::fingerprint_of_pem(&made.cert_pem).unwrap());
        let files = KeyFiles::in_dir(&dir);
        assert_eq!((mode(&dir), mode(&files.private)), (0o700, 0o600));
        assert_eq!((mode(&files.public), mode(&files.cert)), (0o644, 0o644));
        assert!(matches!(write(&dir, &made), Err(KeyError::File(_))), "an identity is never overwritten");
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn files_of_two_nodes_are_an_error_that_names_both() {
    let (mine, other) = (dir("mine"), dir("other"));
    for dir in [&mine, &other] {
        write(dir, &make(KeyKind::EcdsaP256).unwrap()).unwrap();
    }
    fs::copy(other.join("cert.pem"), mine.join("cert.pem")).unwrap();
    let error = load(&mine).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1);
    for part in ["private.pem", "cert.pem", "restore"] {
        assert!(error.contains(part), "{error}");
    }
    for dir in [&mine, &other] {
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn a_file_that_holds_something_else_is_named_with_what_it_holds() {
    let dir = dir("content");
    write(&dir, &make(KeyKind::EcdsaP256).unwrap()).unwrap();
    let files = KeyFiles::in_dir(&dir);
    let private = fs::read_to_string(&files.private).unwrap();
    let certificate = fs::read_to_string(&files.cert).unwrap();
    let public = fs::read_to_string(&files.public).unwrap();
    let cut = &private[..private.len() / 2];
    for (path, content, says) in [
        (&files.private, public.as_str(), "holds a public key"),
        (&files.private, certificate.as_str(), "holds a certificate"),
        (&files.private, "", "is empty"),
        (&files.private, cut, "holds a private key"),
        (&files.private, "\u{1b}[31m", "holds no PEM block"),
        (&files.cert, private.as_str(), "holds a private key"),
        (&files.cert, &certificate[..certificate.len() / 2], "holds a certificate"),
    ] {
        fs::write(&files.private, &private).unwrap();
        fs::write(&files.cert, &certificate).unwrap();
        fs::write(path, content).unwrap();
        let error = load(&dir).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(&path.display().to_string()), "{says}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!error.contains(cut.lines().nth(1).unwrap()), "no key material in an error");
    }
    fs::remove_file(&files.private).unwrap();
    assert!(load(&dir).unwrap_err().to_string().contains("private.pem"));
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn open_modes_and_a_foreign_public_key_are_warned_about_with_the_remedy() {
    let dir = dir("modes");
    write(&dir, &make(KeyKind::EcdsaP256).unwrap()).unwrap();
    let files = KeyFiles::in_dir(&dir);
    fs::set_permissions(&files.private, fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&files.public, make(KeyKind::EcdsaP256).unwrap().public_pem).unwrap();
    let (_, warnings) = load(&dir).unwrap();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings.iter().any(|w| w.contains("0640") && w.contains("chmod 0600")), "{warnings:?}");
    assert!(warnings.iter().any(|w| w.contains("0755") && w.contains("chmod 0700")), "{warnings:?}");
    assert!(warnings.iter().any(|w| w.contains("public.pem")), "{warnings:?}");
    fs::remove_dir_all(&dir).unwrap();
}
