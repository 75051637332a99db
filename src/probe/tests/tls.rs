//! TLS: certificates made for the test, a root store of its own.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

use super::*;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: rustls::pki_types::CertificateDer<'static>,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    Authority { issuer: Issuer::new(params, key), der }
}

/// A site with a certificate for `name`, valid from and to these days from now; signed by itself
/// without an authority.
fn site(
    by: Option<&Authority>,
    name: &str,
    days: (i64, i64),
    versions: &'static [&'static SupportedProtocolVersion],
) -> Server {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let today = i64::try_from(RealClock::new().wall().0 / 86_400_000).unwrap();
    let day = |n: i64| {
        let seconds = u64::try_from((today + n) * 86_400).unwrap();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    params.not_before = day(days.0);
    params.not_after = day(days.1);
    let key = KeyPair::generate().unwrap();
    let cert = match by {
        Some(authority) => params.signed_by(&key, &authority.issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], private)
        .unwrap();
    let config = Arc::new(config);
    Server::new("127.0.0.1:0", move |stream| {
        let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        if requested(&mut tls).is_some() {
            drop(tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nall is well"));
            drop(tls.flush());
        }
    })
}

/// A prober that trusts this authority and finds these names on this host.
fn rig_trusting(authority: &Authority) -> (Rig, Scratch) {
    let hosts = Scratch::file("hosts", "127.0.0.1 good.example other.example\n");
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let rig = Rig::new(|c| {
        c.hosts.clone_from(&hosts.0);
        c.roots = Roots::Given(Arc::new(roots));
    });
    (rig, hosts)
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
const ONLY_12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

fn https(name: &str, server: &Server) -> Target {
    http(&format!("https://{name}:{}/", server.at.port()), 200, Some("well"))
}

#[test]
fn each_fault_of_a_certificate_is_named() {
    let ours = authority("ours");
    let stranger = authority("stranger");
    let (rig, _hosts) = rig_trusting(&ours);
    let good = site(Some(&ours), "good.example", (-1, 30), BOTH);
    let old = site(Some(&ours), "good.example", (-1, 30), ONLY_12);
    let address = site(Some(&ours), "127.0.0.1", (-1, 30), BOTH);
    let expired = site(Some(&ours), "good.example", (-30, -3), BOTH);
    let early = site(Some(&ours), "good.example", (3, 30), BOTH);
    let foreign = site(Some(&stranger), "good.example", (-1, 30), BOTH);
    let alone = site(None, "good.example", (-1, 30), BOTH);
    let plain = Server::new("127.0.0.1:0", |mut s| drop(s.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")));
    let hung_up = Server::new("127.0.0.1:0", drop);
    let cases = [
        (https("good.example", &good), "up"),
        (https("good.example", &old), "up"),
        (https("127.0.0.1", &address), "up"),
        (https("good.example", &expired), "tls: certificate expired 3 days ago"),
        (https("good.example", &early), "tls: certificate not valid before "),
        (
            https("other.example", &good),
            "tls: certificate not valid for name other.example (it is for good.example)",
        ),
        (https("good.example", &foreign), "tls: unknown issuer"),
        (https("good.example", &alone), "tls: self-signed certificate"),
        (https("good.example", &plain), "tls: the answer is not TLS"),
        (https("good.example", &hung_up), "tls: connection "),
    ];
    let details = rig.details(cases.iter().map(|(t, _)| t.clone()).collect(), 10_000);
    for ((_, want), got) in cases.iter().zip(details) {
        assert!(got.starts_with(want), "{got:?}, wanted {want:?}");
    }
}

#[test]
fn a_handshake_that_stalls_is_named_and_its_threads_end_with_the_prober() {
    let ours = authority("ours");
    let (mut rig, _hosts) = rig_trusting(&ours);
    let silent = Server::new("127.0.0.1:0", |mut s| wait_for_end(&mut s));
    assert_eq!(rig.detail(https("good.example", &silent), 300), "timeout after 300ms during tls handshake");
    rig.prober.stop();
    assert_eq!(rig.prober.stats().sockets, 0);
}

#[test]
fn redirects_lead_from_plain_to_tls_and_back() {
    let ours = authority("ours");
    let (rig, _hosts) = rig_trusting(&ours);
    let secure = site(Some(&ours), "good.example", (-1, 30), BOTH);
    let location = format!("https://good.example:{}/", secure.at.port());
    let plain = Server::http(move |_| {
        Some(format!("HTTP/1.1 301 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into_bytes())
    });
    assert_eq!(rig.detail(http(&plain.url("/"), 200, Some("well")), 10_000), "up");
}

#[test]
fn without_any_root_certificate_that_is_said() {
    let rig = Rig::new(|c| c.roots = Roots::Given(Arc::new(RootCertStore::empty())));
    let silent = Server::new("127.0.0.1:0", |mut s| wait_for_end(&mut s));
    let detail = rig.detail(https("127.0.0.1", &silent), 2000);
    assert!(detail.starts_with("local: "), "{detail}");
}
