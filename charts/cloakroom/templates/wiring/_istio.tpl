{{/* The lines for Istio's own configuration, which no chart but Istio's can own: NOTES print them. */}}
{{- define "cloakroom.wiring.meshConfig" -}}
{{- $service := printf "%s/cloakroom.sidecar.internal" .Values.istio.rootNamespace -}}
{{- $port := "19443" -}}
{{- if eq (include "cloakroom.shape" .) "shared" -}}
{{- $port = "9443" -}}
{{- $service = printf "%s/cloakroom-gate.%s.svc.%s" .Release.Namespace .Release.Namespace .Values.global.clusterDomain -}}
{{- end -}}
{{ include "cloakroom.wiring.text" (dict "root" . "file" "istio/mesh-config.yaml" "values" (dict "provider" .Values.istio.provider "service" $service "port" $port)) }}
{{- end -}}

{{/* What NOTES say of Istio. */}}
{{- define "cloakroom.wiring.istioNotes" -}}
Istio does not know cloakroom yet. Add these lines to its own configuration (`meshConfig` in the values of istiod, or the key `mesh`
of the ConfigMap `istio` in {{ .Values.istio.rootNamespace }}), each into the list or map that may be there already. The provider needs no restart;
proxies count what the last line names from their next start:

{{ include "cloakroom.wiring.meshConfig" . | trim | indent 2 }}

Until then {{ if eq (include "cloakroom.shape" .) "sidecar" }}every pod with a gate{{ else }}every Gateway of `gateways`{{ end }} answers 403 (`RBAC: access denied`) to everything.
{{- end -}}
