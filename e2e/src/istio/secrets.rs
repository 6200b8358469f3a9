//! The certificates of a mesh, as Istio's agent hands them to the proxy beside it: Envoy's secret discovery service.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::Pin;

use anyhow::Result;
use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use envoy_types::pb::google::protobuf::Any;
use prost::Message as _;
use tokio::net::TcpListener;
use tonic::codegen::tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::tls::{Authority, Use};

/// What Istio calls the certificate of a proxy, and what it calls the authority of the mesh.
const NAMES: [&str; 2] = ["default", "ROOTCA"];
const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// A running service of that kind. It ends with this value.
pub struct Secrets {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Secrets {
    /// Serves a certificate of this authority for an identity, such as `spiffe://cluster.local/ns/shop/sa/waypoint`.
    ///
    /// # Errors
    /// When it cannot be made, or no port is free.
    pub async fn serve(authority: &Authority, identity: &'static str) -> Result<Self> {
        let (certificate, key) = authority.sign(Use::Workload(identity))?;
        let certificate =
            TlsCertificate { certificate_chain: inline(certificate), private_key: inline(key), ..Default::default() };
        let root = inline(authority.certificate().to_owned());
        let root = CertificateValidationContext { trusted_ca: root, ..Default::default() };
        let secret = |name: &str, it| Secret { name: name.to_owned(), r#type: Some(it) };
        let [own, trusted] = NAMES;
        let secrets = [secret(own, Type::TlsCertificate(certificate)), secret(trusted, Type::ValidationContext(root))];

        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = Server::builder().add_service(SecretDiscoveryServiceServer::new(Kept(secrets)));
        let served = server.serve_with_incoming(TcpIncoming::from(listener));
        // Whoever is not served any more says so: the proxy never gets ready.
        let task = tokio::spawn(async move { drop(served.await) });
        Ok(Self { address, task })
    }

    /// Where.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn inline(text: String) -> Option<DataSource> {
    Some(DataSource { specifier: Some(Specifier::InlineString(text)), ..Default::default() })
}

struct Kept([Secret; NAMES.len()]);

#[tonic::async_trait]
impl SecretDiscoveryService for Kept {
    type DeltaSecretsStream = Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;
    type StreamSecretsStream = Pin<Box<dyn Stream<Item = Result<DiscoveryResponse, Status>> + Send>>;

    async fn delta_secrets(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("Istio's proxies ask for whole states"))
    }

    /// Says each secret once. What asks for nothing new acknowledges what was said.
    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let secrets = self.0.clone();
        let mut said = BTreeSet::new();
        let answers = request.into_inner().filter_map(move |asked| match asked {
            Ok(asked) => {
                let before = said.len();
                said.extend(asked.resource_names);
                (said.len() > before).then(|| Ok(answer(secrets.iter().filter(|it| said.contains(&it.name)))))
            }
            Err(status) => Some(Err(status)),
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_secrets(&self, _: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("Istio's proxies ask by a stream"))
    }
}

fn answer<'a>(secrets: impl Iterator<Item = &'a Secret>) -> DiscoveryResponse {
    let any = |secret: &Secret| Any { type_url: SECRET.to_owned(), value: secret.encode_to_vec() };
    DiscoveryResponse {
        version_info: "1".to_owned(),
        nonce: "1".to_owned(),
        type_url: SECRET.to_owned(),
        resources: secrets.map(any).collect(),
        ..Default::default()
    }
}
