//! The floor: a bare tonic server that decodes the whole CheckRequest and always answers OK with one header.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use e2e::measure::Usage;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse, OkHttpResponse};
use envoy_types::pb::google::rpc;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::writes::Writes;

/// A running floor; ends with the benchmark.
pub(crate) struct Floor {
    child: Child,
    folder: tempfile::TempDir,
}

impl Floor {
    /// Starts one whose header has as many bytes as a real session JWT.
    pub(crate) fn start(header_bytes: usize, writes: Option<&Writes>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("floor.sock");
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["floor".as_ref(), socket.as_os_str(), header_bytes.to_string().as_ref()]).stdin(Stdio::null());
        if let Some(writes) = writes {
            writes.count(&mut command);
        }
        Ok(Self { child: command.spawn()?, folder })
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("floor.sock")
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage::of(self.child.id())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Always {
    jwt: String,
}

#[tonic::async_trait]
impl Authorization for Always {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let header = HeaderValue { key: "x-session-jwt".to_owned(), value: self.jwt.clone(), ..Default::default() };
        let ok = OkHttpResponse {
            headers: vec![HeaderValueOption { header: Some(header), ..Default::default() }],
            ..Default::default()
        };
        let status = Some(rpc::Status::default());
        Ok(Response::new(CheckResponse {
            status,
            http_response: Some(HttpResponse::OkResponse(ok)),
            ..Default::default()
        }))
    }
}

/// Runs the floor in this process, on one thread as the gate runs by default.
pub(crate) fn serve(socket: &Path, header_bytes: usize) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = UnixListenerStream::new(UnixListener::bind(socket)?);
        let service = AuthorizationServer::new(Always { jwt: "j".repeat(header_bytes) });
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(listener).await?;
        Ok(())
    })
}
