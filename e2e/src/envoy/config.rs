//! The configuration that users copy, `examples/envoy/envoy.yaml`, with addresses of the moment put in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::GateAddress;

/// Certificate and key of the listener, PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, with its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The shipped configuration and the changes a test makes to it. A change whose place is gone is an error, so that
/// tests notice when the shipped file and they part.
#[derive(Clone, Debug)]
pub struct EnvoyConfig(Value);

/// The shipped configuration.
pub const SHIPPED: &str = include_str!("../../../examples/envoy/envoy.yaml");

/// The part that lets Envoy verify session JWTs.
const JWT_AUTHN: &str = include_str!("../../../examples/envoy/jwt_authn.yaml");

const LISTENER: &str = "/static_resources/listeners/0";
const CONNECTION_MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";

impl EnvoyConfig {
    /// The shipped file, listening on loopback, on ports that the kernel chooses.
    ///
    /// # Errors
    /// When the file is not what this code expects.
    pub fn shipped() -> Result<Self> {
        Self::written(SHIPPED).context("examples/envoy/envoy.yaml")
    }

    /// A file of the same form, on such ports.
    ///
    /// # Errors
    /// When the file is not what this code expects.
    pub fn written(text: &str) -> Result<Self> {
        let mut config = Self(serde_saphyr::from_str(text)?);
        config.port(0)?.admin(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok(config)
    }

    /// Listens on this port of loopback.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn port(&mut self, port: u16) -> Result<&mut Self> {
        self.listen(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Listens there.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn listen(&mut self, address: SocketAddr) -> Result<&mut Self> {
        *self.at(&format!("{LISTENER}/address"))? = socket_address(address);
        Ok(self)
    }

    /// Answers its administrator there.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn admin(&mut self, address: SocketAddr) -> Result<&mut Self> {
        *self.at("/admin/address")? = socket_address(address);
        Ok(self)
    }

    /// Asks the gate there.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn gate(&mut self, address: &GateAddress) -> Result<&mut Self> {
        let address = match address {
            GateAddress::Unix(path) => json!({ "pipe": { "path": path } }),
            GateAddress::Tcp(address) => socket_address(*address),
        };
        *self.endpoint("cloakroom")? = address;
        Ok(self)
    }

    /// Asks the gate by TLS: `folder` is a mounted Secret with `tls.crt`, `tls.key` and `ca.crt`, read again when it changes, and
    /// `name` is what the gate's certificate must be for. `shows` says whether the proxy shows its own.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn gate_tls(&mut self, folder: &Path, name: &str, shows: bool) -> Result<&mut Self> {
        // Who asks for what it is told by itself must have a name.
        self.0["node"] = json!({ "id": "e2e", "cluster": "e2e" });
        let watched = json!({ "path": folder });
        let file = |name: &str| json!({ "filename": folder.join(name) });
        let secret = |name: &str, value: Value| -> Result<Value> {
            let path = folder.with_added_extension(format!("{name}.json"));
            let mut secret = value;
            secret["@type"] = json!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret");
            secret["name"] = json!(name);
            std::fs::write(&path, json!({ "resources": [secret] }).to_string())?;
            Ok(
                json!({ "name": name, "sds_config": { "path_config_source": { "path": path }, "resource_api_version": "V3" } }),
            )
        };
        let own = json!({ "tls_certificate": {
            "certificate_chain": file("tls.crt"), "private_key": file("tls.key"), "watched_directory": watched,
        } });
        let trusted = json!({ "validation_context": {
            "trusted_ca": file("ca.crt"),
            "watched_directory": watched,
            "match_typed_subject_alt_names": [{ "san_type": "DNS", "matcher": { "exact": name } }],
        } });
        let mut context = json!({ "validation_context_sds_secret_config": secret("trusted", trusted)? });
        if shows {
            context["tls_certificate_sds_secret_configs"] = json!([secret("own", own)?]);
        }
        self.named_cluster("cloakroom")?["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": name,
                "common_tls_context": context,
            },
        });
        Ok(self)
    }

    /// Sends the requests of a cluster (`shop`, `login`) there.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn service(&mut self, cluster: &str, address: SocketAddr) -> Result<&mut Self> {
        *self.endpoint(cluster)? = socket_address(address);
        Ok(self)
    }

    /// TLS with these files.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn tls(&mut self, files: &TlsFiles) -> Result<&mut Self> {
        let at =
            format!("{LISTENER}/filter_chains/0/transport_socket/typed_config/common_tls_context/tls_certificates/0");
        *self.at(&at)? = json!({
            "certificate_chain": { "filename": files.certificate },
            "private_key": { "filename": files.key },
        });
        Ok(self)
    }

    /// No TLS: what raw bytes over HTTP/1.1 and HTTP/2 with prior knowledge need.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn plain(&mut self) -> Result<&mut Self> {
        self.remove(&format!("{LISTENER}/filter_chains/0"), "transport_socket")
    }

    /// Envoy's own defaults where the shipped file is strict: no path normalisation, underscores allowed, the port kept.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn default_normalisation(&mut self) -> Result<&mut Self> {
        for option in
            ["normalize_path", "merge_slashes", "path_with_escaped_slashes_action", "strip_matching_host_port"]
        {
            self.remove(CONNECTION_MANAGER, option)?;
        }
        self.allow_underscores()
    }

    /// Header names with underscores pass, as gRPC metadata may need.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn allow_underscores(&mut self) -> Result<&mut Self> {
        let options = format!("{CONNECTION_MANAGER}/common_http_protocol_options");
        self.remove(&options, "headers_with_underscores_action")
    }

    /// Headers reach the gate as a map with repeated lines joined by commas, as Istio and Envoy Gateway send them.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn headers_as_map(&mut self) -> Result<&mut Self> {
        *self.at_filter("envoy.filters.http.ext_authz", "/encode_raw_headers")? = json!(false);
        Ok(self)
    }

    /// Without the static removal of our headers: what the gate must then do alone.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn no_static_removal(&mut self) -> Result<&mut Self> {
        self.remove(CONNECTION_MANAGER, "early_header_mutation_extensions")?;
        *self.at_filter("envoy.filters.http.header_mutation", "/mutations")? = json!({});
        Ok(self)
    }

    /// Trailers of HTTP/1.1 pass both ways. HTTP/2 always has them.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn http1_trailers(&mut self) -> Result<&mut Self> {
        self.put(CONNECTION_MANAGER, "http_protocol_options", json!({ "enable_trailers": true }))?;
        let protocol = json!({ "explicit_http_config": { "http_protocol_options": { "enable_trailers": true } } });
        self.upstream_protocol("shop", protocol)
    }

    /// A service (`shop`, `login`) speaks HTTP/2 with prior knowledge.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn http2_service(&mut self, cluster: &str) -> Result<&mut Self> {
        self.upstream_protocol(cluster, json!({ "explicit_http_config": { "http2_protocol_options": {} } }))
    }

    /// Waits long for the gate and the services, so that a busy machine is not taken for a fault.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn patient(&mut self) -> Result<&mut Self> {
        *self.at_filter("envoy.filters.http.ext_authz", "/grpc_service/timeout")? = json!("20s");
        *self.at_filter("envoy.filters.http.ext_proc", "/message_timeout")? = json!("20s");
        let clusters = self.at("/static_resources/clusters")?.as_array_mut().context("clusters are a list")?;
        for cluster in clusters {
            cluster["connect_timeout"] = json!("20s");
        }
        Ok(self)
    }

    /// Paths under this prefix go to the shop with the check switched off.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn unchecked(&mut self, prefix: &str) -> Result<&mut Self> {
        let per_route = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute";
        self.route_first(json!({
            "match": { "prefix": prefix },
            "route": { "cluster": "shop" },
            "typed_per_filter_config": { "envoy.filters.http.ext_authz": { "@type": per_route, "disabled": true } },
        }))
    }

    /// Puts a route before all others.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn route_first(&mut self, route: Value) -> Result<&mut Self> {
        let routes = self.at(&format!("{CONNECTION_MANAGER}/route_config/virtual_hosts/0/routes"))?;
        routes.as_array_mut().context("routes are a list")?.insert(0, route);
        Ok(self)
    }

    /// Puts a filter right after the check: it sees the request as the service would.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn filter_after_check(&mut self, filter: Value) -> Result<&mut Self> {
        let filters =
            self.at(&format!("{CONNECTION_MANAGER}/http_filters"))?.as_array_mut().context("filters are a list")?;
        let check = filters.iter().position(|it| it["name"] == "envoy.filters.http.ext_authz").context("the check")?;
        filters.insert(check + 1, filter);
        Ok(self)
    }

    /// Envoy verifies session JWTs itself, right after the check: `examples/envoy/jwt_authn.yaml`, with the key set of
    /// `keys` cached for so many seconds.
    ///
    /// # Errors
    /// When that file is not what this code expects.
    pub fn jwt_authn(&mut self, keys: SocketAddr, cache_seconds: u64) -> Result<&mut Self> {
        let mut part: Value = serde_saphyr::from_str(JWT_AUTHN).context("examples/envoy/jwt_authn.yaml")?;
        let mut put = |pointer: &str, value: Value| -> Result<()> {
            let place = part.pointer_mut(pointer);
            *place.with_context(|| format!("examples/envoy/jwt_authn.yaml has no {pointer}"))? = value;
            Ok(())
        };
        let remote = "/filter/typed_config/providers/cloakroom/remote_jwks";
        put(&format!("{remote}/http_uri/uri"), json!(format!("http://{keys}/.well-known/jwks.json")))?;
        put(&format!("{remote}/cache_duration"), json!(format!("{cache_seconds}s")))?;
        put("/cluster/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address", socket_address(keys))?;
        self.filter_after_check(part["filter"].take())?.cluster(part["cluster"].take())
    }

    /// Adds a cluster.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn cluster(&mut self, cluster: Value) -> Result<&mut Self> {
        self.at("/static_resources/clusters")?.as_array_mut().context("clusters are a list")?.push(cluster);
        Ok(self)
    }

    /// The value at a JSON pointer, to change what no method here does.
    ///
    /// # Errors
    /// When there is none.
    pub fn at(&mut self, pointer: &str) -> Result<&mut Value> {
        self.0.pointer_mut(pointer).with_context(|| format!("the shipped configuration of Envoy has no {pointer}"))
    }

    /// The value at a JSON pointer within an HTTP filter's `typed_config`.
    ///
    /// # Errors
    /// When there is none.
    pub fn at_filter(&mut self, filter: &str, pointer: &str) -> Result<&mut Value> {
        let filters =
            self.at(&format!("{CONNECTION_MANAGER}/http_filters"))?.as_array_mut().context("filters are a list")?;
        let filter = filters.iter_mut().find(|it| it["name"] == filter).context("no such filter")?;
        filter["typed_config"].pointer_mut(pointer).with_context(|| format!("the filter has no {pointer}"))
    }

    /// The connection manager, to change what no method here does.
    ///
    /// # Errors
    /// See [`EnvoyConfig`].
    pub fn connection_manager(&mut self) -> Result<&mut Value> {
        self.at(CONNECTION_MANAGER)
    }

    /// The configuration in JSON, as Envoy reads it.
    pub fn render(&self) -> String {
        format!("{:#}", self.0)
    }

    fn endpoint(&mut self, cluster: &str) -> Result<&mut Value> {
        let cluster = self.named_cluster(cluster)?;
        cluster.pointer_mut("/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address").context("no endpoint")
    }

    fn upstream_protocol(&mut self, cluster: &str, mut options: Value) -> Result<&mut Self> {
        let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        options["@type"] = json!(format!("type.googleapis.com/{name}"));
        self.named_cluster(cluster)?["typed_extension_protocol_options"] = json!({ name: options });
        Ok(self)
    }

    fn named_cluster(&mut self, name: &str) -> Result<&mut Value> {
        let clusters = self.at("/static_resources/clusters")?.as_array_mut().context("clusters are a list")?;
        clusters.iter_mut().find(|it| it["name"] == name).with_context(|| format!("no cluster {name}"))
    }

    fn put(&mut self, pointer: &str, key: &str, value: Value) -> Result<()> {
        self.at(pointer)?.as_object_mut().context("not a map")?.insert(key.to_owned(), value);
        Ok(())
    }

    fn remove(&mut self, pointer: &str, key: &str) -> Result<&mut Self> {
        let removed = self.at(pointer)?.as_object_mut().context("not a map")?.remove(key);
        ensure!(removed.is_some(), "the shipped configuration of Envoy has no {pointer}/{key}");
        Ok(self)
    }
}

fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_finds_its_place_in_the_shipped_file() {
        let mut config = EnvoyConfig::shipped().expect("parses");
        let changed = (|| {
            config.port(8443)?.gate(&GateAddress::parse("unix:///run/x.sock")?)?;
            config.service("shop", "127.0.0.1:81".parse()?)?.service("login", "127.0.0.1:82".parse()?)?;
            config.tls(&TlsFiles { certificate: "c".into(), key: "k".into() })?.plain()?;
            config.default_normalisation()?.headers_as_map()?.no_static_removal()?;
            config.http1_trailers()?.http2_service("login")?.unchecked("/open")?.patient()?;
            config.jwt_authn(SocketAddr::from(([127, 0, 0, 1], 83)), 1)?;
            config.filter_after_check(json!({ "name": "mine" }))?.cluster(json!({ "name": "more" }))?;
            anyhow::Ok(())
        })();
        changed.expect("all places are there");
        let text = config.render();
        assert!(text.contains("/run/x.sock") && !text.contains("encode_raw_headers\": true"));
    }

    #[test]
    fn a_change_without_a_place_is_an_error() {
        let mut config = EnvoyConfig::shipped().expect("parses");
        config.plain().expect("has TLS");
        assert!(config.plain().is_err());
        assert!(config.service("nobody", SocketAddr::from(([127, 0, 0, 1], 1))).is_err());
    }
}
