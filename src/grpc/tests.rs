use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use e2e::tls::Certificates;
use envoy_types::pb::envoy::service::auth::v3 as full;
use full::authorization_client::AuthorizationClient;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;

/// Answers with a refusal: 403 for a check, 400 for what is none.
fn refuse(message: Result<Bytes, Unreadable>) -> Bytes {
    let low = message.map_or(0x90, |_| 0x93); // the low byte of the varints 400 and 403
    // `CheckResponse{denied_response: {status: {code}}}`, its length before it.
    [0, 0, 0, 0, 7, 0x12, 5, 0x0a, 3, 0x08, low, 3].to_vec().into()
}

/// Says which call it was asked.
async fn name(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(tonic::Status::data_loss(request.uri().path()).into_http())
}

/// A folder that only we may write to.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

struct Running {
    address: Address,
    ready: watch::Sender<bool>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Running {
    async fn start<C, F>(address: &Address, check: C) -> Self
    where
        C: Fn(Result<Bytes, Unreadable>) -> F + Clone + Send + 'static,
        F: Future<Output = Bytes> + Send + 'static,
    {
        Self::within(Limits::default(), address, check).await
    }

    async fn within<C, F>(limits: Limits, address: &Address, check: C) -> Self
    where
        C: Fn(Result<Bytes, Unreadable>) -> F + Clone + Send + 'static,
        F: Future<Output = Bytes> + Send + 'static,
    {
        let listener = Listener::bind(address).await.unwrap();
        let address = listener.address().unwrap();
        let (ready, readiness) = watch::channel(false);
        let stop = CancellationToken::new();
        let task = tokio::spawn(listener.serve(limits, check, service_fn(name), readiness, stop.clone()));
        Self { address, ready, stop, task }
    }

    async fn channel(&self) -> Channel {
        let uri = match &self.address {
            Address::Unix(path) => format!("unix://{}", path.display()),
            Address::Loopback(address) => format!("http://{address}"),
            Address::Known { .. } => unreachable!("it asks who comes"),
        };
        Endpoint::from_shared(uri).unwrap().connect().await.unwrap()
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("drains").unwrap().unwrap();
    }
}

fn loopback() -> Address {
    Address::Loopback(([127, 0, 0, 1], 0).into())
}

fn status(response: &full::CheckResponse) -> i32 {
    match &response.http_response {
        Some(full::check_response::HttpResponse::DeniedResponse(denied)) => denied.status.as_ref().unwrap().code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn checks_are_answered_on_a_socket_file_and_on_a_loopback_port() {
    let folder = folder();
    for address in [Address::Unix(folder.path().join("gate.sock")), loopback()] {
        let server = Running::start(&address, async |message| refuse(message)).await;
        let mut client = AuthorizationClient::new(server.channel().await);
        for _ in 0..3 {
            assert_eq!(status(client.check(full::CheckRequest::default()).await.unwrap().get_ref()), 403);
        }
        // A check of many frames.
        let big = full::attribute_context::HttpRequest { path: "/".repeat(300_000), ..Default::default() };
        let check = |http| full::CheckRequest {
            attributes: Some(full::AttributeContext {
                request: Some(full::attribute_context::Request { time: None, http: Some(http) }),
                ..Default::default()
            }),
        };
        assert_eq!(status(client.check(check(big)).await.unwrap().get_ref()), 403);
        drop(client);
        server.end().await;
    }
}

#[tokio::test]
async fn a_call_goes_where_its_path_says() {
    use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_client::ExternalProcessorClient;

    let server = Running::start(&loopback(), async |message| refuse(message)).await;
    let mut client = ExternalProcessorClient::new(server.channel().await);
    let answered = client.process(stream::empty()).await.unwrap_err();
    assert_eq!(
        (answered.code(), answered.message()),
        (tonic::Code::DataLoss, &*format!("/{EXTERNAL_PROCESSOR}/Process"))
    );
    let channel = server.channel().await;
    for path in ["/envoy.service.ext_proc.v3.ExternalProcessors/Process", "/envoy.service.auth.v3.Authorization/Other"]
    {
        let request = Request::post(path).body(Body::empty()).unwrap();
        let answered = channel.clone().oneshot(request).await.unwrap();
        assert_eq!(answered.headers()["grpc-status"], "12", "{path}"); // UNIMPLEMENTED
    }
    drop((client, channel));
    server.end().await;
}

#[tokio::test]
async fn p02_a_check_too_large_to_read_is_refused_and_not_failed() {
    let server = Running::start(&loopback(), async |message| refuse(message)).await;
    let mut client = AuthorizationClient::new(server.channel().await);
    let http = full::attribute_context::HttpRequest { path: "/".repeat(3 * unary::MAX_MESSAGE), ..Default::default() };
    let request = full::attribute_context::Request { time: None, http: Some(http) };
    let attributes = full::AttributeContext { request: Some(request), ..Default::default() };
    let answered = client.check(full::CheckRequest { attributes: Some(attributes) }).await.unwrap();
    assert_eq!(status(answered.get_ref()), 400);
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn p32_connections_over_the_cap_wait_for_a_place() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let server = Running::within(limits, &loopback(), async |message| refuse(message)).await;
    let mut first = AuthorizationClient::new(server.channel().await);
    let mut second = AuthorizationClient::new(server.channel().await);
    for client in [&mut first, &mut second] {
        assert_eq!(status(client.check(full::CheckRequest::default()).await.unwrap().get_ref()), 403);
    }
    // The kernel takes it; nobody answers there.
    let mut third = AuthorizationClient::new(server.channel().await);
    let waits = tokio::spawn(async move { third.check(full::CheckRequest::default()).await });
    for _ in 0..20 {
        assert_eq!(status(second.check(full::CheckRequest::default()).await.unwrap().get_ref()), 403);
        assert!(!waits.is_finished());
    }
    drop(first);
    assert_eq!(status(waits.await.unwrap().unwrap().get_ref()), 403);
    drop(second);
    server.end().await;
}

/// A channel over TLS, which shows the client's certificate or none.
async fn channel_of(
    certificates: &Certificates,
    address: SocketAddr,
    shows: bool,
) -> Result<Channel, tonic::transport::Error> {
    let certificates = certificates.clone();
    let connector = service_fn(move |_: http::Uri| {
        let certificates = certificates.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            anyhow::Ok(TokioIo::new(certificates.over(stream, "gate.example", shows).await?))
        }
    });
    Endpoint::from_static("http://gate.example").connect_with_connector(connector).await
}

#[tokio::test]
async fn p30_p32_strangers_and_slow_peers_take_no_place_from_a_proxy_that_is_known() {
    let folder = folder();
    let certificates = Certificates::make(folder.path(), &["gate.example"]).unwrap();
    let tls = TlsFiles {
        certificate: certificates.server.certificate.clone(),
        key: certificates.server.key.clone(),
        client_ca: Some(certificates.ca.clone()),
        client_names: None,
    };
    let known = |tls| Address::Known { address: ([127, 0, 0, 1], 0).into(), tls };
    let open = Listener::bind(&known(TlsFiles { client_ca: None, ..tls.clone() })).await;
    assert!(matches!(open, Err(BindError::NotLoopback(_))), "it would let everybody in");

    let limits = Limits { connections: 1, ..Limits::default() };
    let server = Running::within(limits, &known(tls), async |message| refuse(message)).await;
    let Address::Known { address, .. } = server.address else { unreachable!() };
    // They connect and say nothing: more than there are handshakes at once.
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // They come without a certificate. With TLS 1.3 a client hears of it with its first answer.
    for _ in 0..5 {
        if let Ok(channel) = channel_of(&certificates, address, false).await {
            AuthorizationClient::new(channel).check(full::CheckRequest::default()).await.unwrap_err();
        }
    }
    let mut proxy = AuthorizationClient::new(channel_of(&certificates, address, true).await.unwrap());
    for _ in 0..3 {
        assert_eq!(status(proxy.check(full::CheckRequest::default()).await.unwrap().get_ref()), 403);
    }
    drop((silent, proxy));
    server.end().await;
}

/// A body that sends this and then neither goes on nor ends.
struct Stalled(Option<Bytes>);

impl http_body::Body for Stalled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |data| Poll::Ready(Some(Ok(Frame::data(data)))))
    }
}

/// Begins a call of `path` with a message that does not come whole.
fn stalled(channel: &Channel, path: &str, data: Bytes) -> JoinHandle<Response<Body>> {
    let request = Request::post(path).body(Body::new(Stalled(Some(data)))).unwrap();
    let channel = channel.clone();
    tokio::spawn(async move { channel.oneshot(request).await.unwrap() })
}

/// The low byte of the status that [`verdict`] answers.
async fn verdict(response: Response<Body>) -> u8 {
    let mut body = response.into_body();
    let frame = std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await.unwrap().unwrap();
    frame.into_data().unwrap()[10]
}

#[tokio::test]
async fn p32_p02_a_message_that_does_not_come_whole_has_its_time_and_no_more() {
    let limits = Limits { message: Duration::from_millis(50), ..Limits::default() };
    let server = Running::within(limits, &loopback(), async |message| {
        assert_eq!(message, Err(Unreadable::Unfinished));
        refuse(message)
    })
    .await;
    let channel = server.channel().await;
    // Nothing, the beginning of a message, and a whole one without its end.
    for sent in [&b""[..], b"\0\0\0\0\x09abc", b"\0\0\0\0\x03abc"] {
        let data = Bytes::from_static(sent);
        assert_eq!(verdict(stalled(&channel, CHECK, data).await.unwrap()).await, 0x90, "a decision, and no failure");
    }
    drop(channel);
    server.end().await;
}

#[tokio::test]
async fn p32_messages_that_are_not_whole_share_one_room() {
    const KIB: usize = 1024;
    let limits = Limits { unfinished: 150 * KIB, message: Duration::from_secs(3600), ..Limits::default() };
    let server = Running::within(limits, &loopback(), async |message| refuse(message)).await;
    let begun = |bytes: usize| Bytes::from([&[0, 0, 0xf, 0xff, 0xff][..], &vec![7; bytes]].concat());
    // Over several connections: what each may have by itself is no bound for all.
    let (one, two) = (server.channel().await, server.channel().await);
    let mut waiting: Vec<_> = (0..8).map(|it| stalled([&one, &two][it % 2], CHECK, begun(40 * KIB))).collect();
    let mut refused = 0;
    while refused < 6 {
        let (answered, _, others) = futures_util::future::select_all(waiting).await;
        assert_eq!(verdict(answered.unwrap()).await, 0x90);
        waiting = others;
        refused += 1;
    }
    assert!(waiting.iter().all(|it| !it.is_finished()), "two have room");
    // An ordinary check needs none; and what is given up is free again.
    let mut client = AuthorizationClient::new(one.clone());
    assert_eq!(status(client.check(full::CheckRequest::default()).await.unwrap().get_ref()), 403);
    waiting.iter().for_each(JoinHandle::abort);
    drop((waiting, one, two, client));
    server.end().await;
}

#[tokio::test]
async fn health_follows_readiness_and_lets_go_at_the_end() {
    use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};

    let server = Running::start(&loopback(), async |message| refuse(message)).await;
    let mut client = HealthClient::new(server.channel().await);
    let mut watched = client.watch(HealthCheckRequest { service: AUTHORIZATION.into() }).await.unwrap().into_inner();
    let mut next = async || watched.message().await.unwrap().map(|response| response.status());
    // The first answer may precede the first report.
    let mut first = next().await;
    if first == Some(Serving) {
        first = next().await;
    }
    assert_eq!(first, Some(NotServing));
    server.ready.send(true).unwrap();
    assert_eq!(next().await, Some(Serving));
    let overall = client.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(overall.get_ref().status(), Serving);
    let processor = client.check(HealthCheckRequest { service: EXTERNAL_PROCESSOR.into() }).await.unwrap();
    assert_eq!(processor.get_ref().status(), Serving);
    server.ready.send(false).unwrap();
    assert_eq!(next().await, Some(NotServing));

    server.stop.cancel();
    assert_eq!(next().await, None, "a watch that nobody ends would hold up the drain");
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn p33_a_check_under_way_is_answered_before_the_end() {
    let (arrived, may_go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let server = {
        let (arrived, may_go) = (arrived.clone(), may_go.clone());
        Running::start(&loopback(), move |message| {
            let (arrived, may_go) = (arrived.clone(), may_go.clone());
            async move {
                arrived.add_permits(1);
                may_go.acquire().await.unwrap().forget();
                refuse(message)
            }
        })
        .await
    };
    let mut client = AuthorizationClient::new(server.channel().await);
    let check = tokio::spawn(async move { client.check(full::CheckRequest::default()).await });
    arrived.acquire().await.unwrap().forget();
    server.stop.cancel();
    may_go.add_permits(1);
    assert_eq!(status(check.await.unwrap().unwrap().get_ref()), 403);
    server.end().await;
}

#[tokio::test]
async fn p30_only_a_loopback_address_is_listened_on() {
    for address in ["0.0.0.0:0", "192.0.2.1:9443", "[::]:0"] {
        let refused = Listener::bind(&Address::Loopback(address.parse().unwrap())).await;
        assert!(matches!(refused, Err(BindError::NotLoopback(_))), "{address}: {refused:?}");
    }
}

#[tokio::test]
async fn p30_the_socket_lies_where_nobody_can_exchange_it() {
    let folder = folder();
    let path = folder.path().join("gate.sock");
    for (mode, accepted) in
        [(0o700, true), (0o755, true), (0o775, false), (0o757, false), (0o1777, false), (0o2770, false)]
    {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        match Listener::bind(&Address::Unix(path.clone())).await {
            Ok(_) => {
                assert!(accepted, "{mode:o}");
            }
            Err(BindError::Folder { .. }) => assert!(!accepted, "{mode:o}"),
            Err(other) => panic!("{mode:o}: {other}"),
        }
    }
}

#[tokio::test]
async fn p30_the_sockets_folder_is_made_if_it_is_missing_and_nobody_else_may_write_there() {
    // As Kubernetes makes volumes: for everybody, and with a group that is handed on where the pod has an `fsGroup`.
    for volume_mode in [0o777, 0o2777] {
        let volume = folder();
        fs::set_permissions(volume.path(), fs::Permissions::from_mode(volume_mode)).unwrap();
        let path = volume.path().join("gate/gate.sock");
        let _listener = Listener::bind(&Address::Unix(path.clone())).await.unwrap();
        let mode = fs::metadata(volume.path().join("gate")).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o750 | (volume_mode & 0o2000), "{mode:o}");
        let missing = Listener::bind(&Address::Unix(volume.path().join("more/than/one.sock"))).await;
        assert!(matches!(missing, Err(BindError::System { .. })), "{missing:?}");
    }
}

#[tokio::test]
async fn the_socket_file_comes_with_its_mode_and_goes_with_its_listener() {
    let folder = folder();
    let path = folder.path().join("gate.sock");
    let listener = Listener::bind(&Address::Unix(path.clone())).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o660);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let folder = folder();
    let path = folder.path().join("gate.sock");
    let address = Address::Unix(path.clone());

    drop(UnixListener::bind(&path).unwrap()); // tokio leaves the file where it was
    let first = Listener::bind(&address).await.unwrap();

    let second = Listener::bind(&address).await;
    assert!(matches!(second, Err(BindError::InUse(_))), "{second:?}");
    UnixStream::connect(&path).await.expect("the first is still there");

    // Somebody moved another socket into its place: that one is not ours to remove.
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let folder = folder();
    let path = folder.path().join("gate.sock");
    fs::write(&path, "somebody's notes").unwrap();
    let refused = Listener::bind(&Address::Unix(path.clone())).await;
    assert!(matches!(refused, Err(BindError::NotASocket(_))), "{refused:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's notes");
}
