{{/* Words that more than one template says. What the configuration file has is in _config.tpl, what pods have in _pods.tpl. */}}

{{/* `sidecar` or `shared`. */}}
{{- define "cloakroom.shape" -}}
{{- if .Values.shape -}}
{{ .Values.shape }}
{{- else if has .Values.mesh (list "envoyGateway" "gatewayApi") -}}
shared
{{- else -}}
sidecar
{{- end -}}
{{- end -}}

{{/* Labels of every object. Takes the root, or a dict of `root` and `component`. */}}
{{- define "cloakroom.labels" -}}
{{- $root := .root | default . -}}
app.kubernetes.io/name: cloakroom
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.global.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The labels by which pods of a component are found; they never change. Takes the component. */}}
{{- define "cloakroom.selector" -}}
app.kubernetes.io/name: cloakroom
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{/* `metadata` of an object in the install's namespace. Takes a dict of `root`, `name`, and perhaps `component`, `namespace`
(`""` for an object of the cluster), `labels` and `annotations`. */}}
{{- define "cloakroom.metadata" -}}
{{- $namespace := hasKey . "namespace" | ternary .namespace .root.Release.Namespace -}}
name: {{ .name }}
{{- with $namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "cloakroom.labels" (dict "root" .root "component" .component) | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.global.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* `jwt.issuer`. */}}
{{- define "cloakroom.issuer" -}}
{{- /* As the program reads it: without slashes at the end. */ -}}
{{ regexReplaceAll "/+$" .Values.jwt.issuer "" | default (printf "https://cloakroom-controller.%s.svc" .Release.Namespace) }}
{{- end -}}

{{/* The namespaces that get a client certificate for their proxies, as a JSON list. */}}
{{- define "cloakroom.certificateNamespaces" -}}
{{- $names := .Values.proxyNamespaces -}}
{{- range .Values.gateways -}}
{{- $names = append $names .namespace -}}
{{- end -}}
{{- if eq .Values.mesh "gatewayApi" -}}
{{- /* The BackendTLSPolicy lies beside the gate's Service and names the authority there. */ -}}
{{- $names = append $names .Release.Namespace -}}
{{- end -}}
{{ $names | uniq | sortAlpha | toJson }}
{{- end -}}

{{/* The namespaces whose pods are proxies that ask a shared gate, as a JSON list. */}}
{{- define "cloakroom.proxyNamespaces" -}}
{{- $names := include "cloakroom.certificateNamespaces" . | fromJsonArray -}}
{{- if eq .Values.mesh "envoyGateway" -}}
{{- $names = append $names .Values.envoyGateway.namespace -}}
{{- end -}}
{{ $names | uniq | sortAlpha | toJson }}
{{- end -}}

{{/* An image by its digest, or by its version. Takes a dict of `root`, `image` and `version`. */}}
{{- define "cloakroom.imageOf" -}}
{{- $registry := .image.registry | default .root.Values.global.imageRegistry -}}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ .image.repository }}
{{- with .image.digest }}@{{ . }}{{ else }}:{{ .image.tag | default .version }}{{ end -}}
{{- end -}}

{{/* cloakroom's own image. */}}
{{- define "cloakroom.image" -}}
{{ include "cloakroom.imageOf" (dict "root" . "image" .Values.image "version" .Chart.AppVersion) }}
{{- end -}}

{{/* The milliseconds of a duration like `1m30s`. */}}
{{- define "cloakroom.milliseconds" -}}
{{- $milliseconds := 0 -}}
{{- range regexFindAll "[0-9]+(ms|h|m|s)" . -1 -}}
{{- $number := regexFind "^[0-9]+" . | atoi -}}
{{- $unit := get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) (regexFind "[a-z]+$" .) -}}
{{- $milliseconds = add $milliseconds (mul $number $unit) -}}
{{- end -}}
{{ $milliseconds }}
{{- end -}}

{{/* The seconds of such a duration, rounded up. */}}
{{- define "cloakroom.seconds" -}}
{{ div (add (include "cloakroom.milliseconds" . | int64) 999) 1000 }}
{{- end -}}

{{/* The value at a path like `config.jwt.lifetime`; nothing where there is none. Takes a dict of `root` and `path`. */}}
{{- define "cloakroom.valueAt" -}}
{{- $value := .root.Values -}}
{{- range $key := splitList "." .path -}}
{{- if kindIs "map" $value }}{{ $value = get $value $key }}{{ else }}{{ $value = "" }}{{ end -}}
{{- end -}}
{{ $value }}
{{- end -}}

{{/* The bytes of an amount of memory, as Valkey (`384mb`) or Kubernetes (`512Mi`) writes it. */}}
{{- define "cloakroom.bytes" -}}
{{- $number := regexFind "^[0-9.]+(e[0-9]+)?" (lower .) | default "0" | float64 -}}
{{- $unit := regexFind "[a-z]+$" (lower .) -}}
{{- $units := dict "k" 1000 "kb" 1024 "ki" 1024 "m" 1000000 "mb" 1048576 "mi" 1048576 "g" 1000000000 "gb" 1073741824 "gi" 1073741824 "t" 1000000000000 "ti" 1099511627776 -}}
{{ mulf $number (get $units $unit | default 1) | int64 }}
{{- end -}}

{{/* The namespaces that the injector is never asked about: the cluster's own, and where the webhook itself runs. A JSON list. */}}
{{- define "cloakroom.excludedNamespaces" -}}
{{ concat (list "kube-system" "kube-public" "kube-node-lease" .Release.Namespace) .Values.sidecar.excludedNamespaces | uniq | toJson }}
{{- end -}}
