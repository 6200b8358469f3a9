{{/* The configuration files (docs/configuration.md). Each part is a template of its own, in the words of the file. */}}

{{/* What gates and the controller must have in common, so that a status tells what gates do. */}}
{{- define "cloakroom.config.common" -}}
{{- $jwt := dict "issuer" (include "cloakroom.issuer" .) "algorithm" .Values.jwt.algorithm "header" .Values.jwt.header -}}
{{- $common := dict "realm" .Values.realm "jwt" $jwt -}}
{{- with .Values.realms }}{{ $_ := set $common "realms" . }}{{ end -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $common) -}}
{{- end -}}

{{/* The Gateways, as NAMESPACE/NAME in a JSON list. */}}
{{- define "cloakroom.config.gateways" -}}
{{- $names := list -}}
{{- range .Values.gateways -}}
{{- $names = append $names (printf "%s/%s" .namespace .name) -}}
{{- end -}}
{{ toJson $names }}
{{- end -}}

{{/* cloakroom.yaml of the controller. */}}
{{- define "cloakroom.config.controller" -}}
{{- $address := .Values.global.listenAddress -}}
{{- $listen := dict "http" (printf "%s:9080" $address) "health" (printf "%s:9091" $address) -}}
{{- $gateways := include "cloakroom.config.gateways" . | fromJsonArray -}}
{{- if and (eq (include "cloakroom.shape" .) "sidecar") (not $gateways) -}}
{{- /* Each sidecar counts the Gateways of its own namespace; the controller tells about all of them. */ -}}
{{- $gateways = list "*" -}}
{{- end -}}
{{- $kubernetes := dict "installNamespace" .Release.Namespace "gateways" $gateways -}}
{{- if eq (include "cloakroom.shape" .) "shared" }}{{ $_ := set $kubernetes "namespaceLabels" true }}{{ end -}}
{{- $controller := dict
  "webhook" (include "cloakroom.config.webhook" . | fromYaml)
  "certificates" (include "cloakroom.config.certificates" . | fromYaml)
  "secrets" (include "cloakroom.config.secrets" . | fromJsonArray)
-}}
{{- with .Values.controller.lease }}{{ $_ := set $controller "lease" . }}{{ end -}}
{{- with .Values.controller.keys }}{{ $_ := set $controller "keys" . }}{{ end -}}
{{- if eq (include "cloakroom.shape" .) "sidecar" -}}
{{- $_ := set $controller "sidecars" (include "cloakroom.config.sidecars" . | fromYaml) -}}
{{- else -}}
{{- $_ := set $controller "gateKeys" true -}}
{{- end -}}
{{- $own := dict "listen" $listen "policies" (dict "kubernetes" $kubernetes) "controller" $controller -}}
{{- if include "cloakroom.store.users" . -}}
{{- $_ := set $own "sessions" (dict "store" (include "cloakroom.config.store" . | fromYaml)) -}}
{{- end -}}
{{- toYaml (mergeOverwrite (include "cloakroom.config.common" . | fromYaml) $own) -}}
{{- end -}}

{{/* `controller.webhook`: by the certificates that the controller makes. */}}
{{- define "cloakroom.config.webhook" -}}
listen: {{ printf "%s:%v" .Values.global.listenAddress .Values.controller.webhookPort | quote }}
{{- end -}}

{{/* `controller.certificates`. */}}
{{- define "cloakroom.config.certificates" -}}
life: {{ .Values.controller.certificateLife }}
webhook:
  service: cloakroom-controller
  validating: cloakroom-policies
  {{- if eq (include "cloakroom.shape" .) "sidecar" }}
  mutating: cloakroom-injector
  {{- end }}
{{- if eq (include "cloakroom.shape" .) "shared" }}
gate:
  service: cloakroom-gate
proxies: {{ include "cloakroom.certificateNamespaces" . }}
{{- end }}
{{- end -}}

{{/* `controller.secrets`: the Secrets that it makes once. */}}
{{- define "cloakroom.config.secrets" -}}
{{- $names := list "token" "admin" -}}
{{- if eq .Values.store.kind "bundled" }}{{ $names = append $names "store" }}{{ end -}}
{{ toJson $names }}
{{- end -}}

{{/* `controller.sidecars`. */}}
{{- define "cloakroom.config.sidecars" -}}
configFile: sidecar.yaml
image: {{ include "cloakroom.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
listen: {{ .Values.sidecar.listen }}
proxyContainers: {{ toJson .Values.sidecar.proxyContainers }}
resources: {{ toJson .Values.sidecar.resources }}
{{- if include "cloakroom.store.users" . }}
store: { users: true }
{{- else }}{{ with include "cloakroom.store.secrets" . | fromYaml }}
store: {{ toJson . }}
{{- end }}{{ end }}
{{- end -}}

{{/* Not empty where each namespace has a user of its own in the store. */}}
{{- define "cloakroom.store.users" -}}
{{- if and (eq .Values.store.kind "bundled") .Values.store.bundled.users (eq (include "cloakroom.shape" .) "sidecar") -}}
true
{{- end -}}
{{- end -}}

{{/* Where the store's password and its authority are: Secrets of the install's namespace, and their keys. */}}
{{- define "cloakroom.store.secrets" -}}
{{- if eq .Values.store.kind "bundled" -}}
passwordSecret: cloakroom-store
passwordKey: password
{{- else if eq .Values.store.kind "redis" -}}
{{- with .Values.store.redis.passwordSecret }}{{ if .name }}
passwordSecret: {{ .name }}
passwordKey: {{ .key }}
{{ end }}{{ end -}}
{{- with .Values.store.redis.sentinel.passwordSecret }}{{ if .name }}
sentinelPasswordSecret: {{ .name }}
sentinelPasswordKey: {{ .key | default "password" }}
{{ end }}{{ end -}}
{{- with .Values.store.redis.tls.caSecret }}{{ if .name }}
caSecret: {{ .name }}
caKey: {{ .key }}
{{ end }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* What both shapes' gates have: the same files under the same names, and the store. */}}
{{- define "cloakroom.config.gate.common" -}}
{{- $own := dict
  "token" (dict "keyFile" "/etc/cloakroom/secrets/token.key")
  "api" (dict "tokenFile" "/etc/cloakroom/secrets/admin.token")
  "jwt" (dict "keysDir" "/etc/cloakroom/keys")
  "sessions" (dict "store" (include "cloakroom.config.store" . | fromYaml))
-}}
{{- toYaml (mergeOverwrite (include "cloakroom.config.common" . | fromYaml) $own) -}}
{{- end -}}

{{/* `sessions.store`. */}}
{{- define "cloakroom.config.store" -}}
{{- if eq .Values.store.kind "embedded" -}}
kind: embedded
path: /var/lib/cloakroom/sessions.redb
{{- else if eq .Values.store.kind "bundled" -}}
kind: redis
redis:
  url: redis://cloakroom-store.{{ .Release.Namespace }}.svc.{{ .Values.global.clusterDomain }}:6379
  passwordFile: /etc/cloakroom/secrets/store.password
{{- else -}}
{{- $redis := .Values.store.redis -}}
{{- $tls := dict -}}
{{- if $redis.tls.caSecret.name }}{{ $_ := set $tls "caFile" "/etc/cloakroom/secrets/store-ca.crt" }}{{ end -}}
{{- if $redis.tls.certSecret.name -}}
{{- $_ := set $tls "certFile" "/etc/cloakroom/secrets/store.crt" -}}
{{- $_ := set $tls "keyFile" "/etc/cloakroom/secrets/store.key" -}}
{{- end -}}
{{- $out := dict -}}
{{- range $key := list "url" "cluster" "username" "wait" -}}
{{- with get $redis $key }}{{ $_ := set $out $key . }}{{ end -}}
{{- end -}}
{{- with $redis.database }}{{ $_ := set $out "database" (int .) }}{{ end -}}
{{- with $redis.sentinel -}}
{{- $sentinel := omit . "passwordSecret" -}}
{{- if dig "passwordSecret" "name" "" . }}{{ $_ := set $sentinel "passwordFile" "/etc/cloakroom/secrets/sentinel.password" }}{{ end -}}
{{- $_ := set $out "sentinel" $sentinel -}}
{{- end -}}
{{- if $redis.passwordSecret.name -}}
{{- $_ := set $out "passwordFile" "/etc/cloakroom/secrets/store.password" -}}
{{- end -}}
{{- if or $tls $redis.tls.enabled }}{{ $_ := set $out "tls" $tls }}{{ end -}}
{{- toYaml (dict "kind" "redis" "redis" $out) -}}
{{- end -}}
{{- end -}}

{{/* cloakroom.yaml of the shared gate. */}}
{{- define "cloakroom.config.gate" -}}
{{- $address := .Values.global.listenAddress -}}
{{- $listen := dict
  "grpc" (printf "%s:9443" $address)
  "tls" (include "cloakroom.config.listenTls" . | fromYaml)
  "http" "127.0.0.1:9080"
  "health" (printf "%s:9091" $address)
  "admin" "127.0.0.1:9090"
  "sessions" "127.0.0.1:9081"
-}}
{{- $kubernetes := dict
  "installNamespace" .Release.Namespace
  "gateways" (include "cloakroom.config.gateways" . | fromJsonArray)
  "namespaceLabels" true
  "snapshot" "/run/cloakroom/policies.snapshot"
-}}
{{- if .Values.providerSecrets }}{{ $_ := set $kubernetes "secrets" true }}{{ end -}}
{{- $own := dict "listen" $listen "policies" (dict "kubernetes" $kubernetes) -}}
{{- toYaml (mergeOverwrite (include "cloakroom.config.gate.common" . | fromYaml) $own) -}}
{{- end -}}

{{/* `listen.tls` of the shared gate: the certificate that the controller made, and whose client certificates count. A namespace that is
     taken off the values is not let in any more, though its certificate has not run out. */}}
{{- define "cloakroom.config.listenTls" -}}
certFile: /etc/cloakroom/tls/tls.crt
keyFile: /etc/cloakroom/tls/tls.key
clientCaFile: /etc/cloakroom/tls/ca.crt
{{- $names := list -}}
{{- range include "cloakroom.certificateNamespaces" . | fromJsonArray -}}
{{- $names = append $names (printf "%s.proxies.cloakroom.internal" .) -}}
{{- end }}
clientNames: {{ toJson $names }}
{{- end -}}

{{/* sidecar.yaml: cloakroom.yaml of every sidecar, in which the controller writes the namespace. */}}
{{- define "cloakroom.config.sidecar" -}}
{{- $socket := eq .Values.sidecar.listen "socket" -}}
{{- $listen := dict
  "grpc" (ternary "unix:///run/cloakroom/gate/gate.sock" "127.0.0.1:9443" $socket)
  "http" "127.0.0.1:9080"
  "health" (printf "%s:9091" .Values.global.listenAddress)
  "admin" "127.0.0.1:9090"
  "sessions" "127.0.0.1:9081"
-}}
{{- $kubernetes := dict
  "namespace" "${namespace}"
  "installNamespace" .Release.Namespace
  "snapshot" "/run/cloakroom/policies.snapshot"
-}}
{{- if .Values.gateways }}{{ $_ := set $kubernetes "gateways" (include "cloakroom.config.gateways" . | fromJsonArray) }}{{ end -}}
{{- if .Values.providerSecrets }}{{ $_ := set $kubernetes "secrets" true }}{{ end -}}
{{- /* Token keys are every namespace's; what handles are sealed under is this one's. */ -}}
{{- $token := dict "handleKeyFile" "/etc/cloakroom/secrets/handle.key" -}}
{{- $own := dict "listen" $listen "policies" (dict "kubernetes" $kubernetes "pod" "/etc/cloakroom/pod") "token" $token -}}
{{- if include "cloakroom.store.users" . -}}
{{- $_ := set $own "sessions" (dict "store" (dict "redis" (dict "username" "cloakroom-${namespace}"))) -}}
{{- end -}}
{{- toYaml (mergeOverwrite (include "cloakroom.config.gate.common" . | fromYaml) $own) -}}
{{- end -}}
