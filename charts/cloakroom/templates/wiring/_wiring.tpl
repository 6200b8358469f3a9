{{/* What the files below wiring/ are filled with: the room `wiring` of the program fills the same files with the same values. */}}

{{/* One name with a pattern for each sign that is neither letter nor digit. Takes a dict of `name` and `any`. */}}
{{- define "cloakroom.wiring.spellings" -}}
{{ regexReplaceAllLiteral "[^a-z0-9]" (lower .name) .any }}
{{- end -}}

{{/* Every name that is cloakroom's, in every spelling that a common server takes for it. */}}
{{- define "cloakroom.wiring.own" -}}
{{- $header := lower .Values.jwt.header -}}
{{- if hasPrefix "x-session-" $header -}}
x[^a-z0-9]session[^a-z0-9].*
{{- else -}}
x[^a-z0-9](session[^a-z0-9].*|{{ include "cloakroom.wiring.spellings" (dict "name" (trimPrefix "x-" $header) "any" "[^a-z0-9]") }})
{{- end -}}
{{- end -}}

{{/* The headers of requests that carry a credential, as a JSON list. */}}
{{- define "cloakroom.wiring.credentials" -}}
{{- $names := list -}}
{{- range .Values.wiring.credentialHeaders }}{{ $names = append $names (lower .) }}{{ end -}}
{{- range dig "token" "carriers" list .Values.config -}}
{{- with .header }}{{ $names = append $names (lower .) }}{{ end -}}
{{- end -}}
{{ $names | uniq | toJson }}
{{- end -}}

{{/* What the check may change on a request. */}}
{{- define "cloakroom.wiring.checked" -}}
authorization|cookie|
{{- range include "cloakroom.wiring.credentials" . | fromJsonArray -}}
{{ replace "." "[.]" . }}|
{{- end -}}
{{ include "cloakroom.wiring.own" . }}
{{- end -}}

{{/* What the gate may change on a response. */}}
{{- define "cloakroom.wiring.answered" -}}
{{- $header := lower .Values.jwt.header -}}
set-cookie|[a-z-]+-control|expires|content-(type|length)|retry-after|
{{- range .Values.wiring.exchangeHeaders }}{{ lower . }}|{{ end -}}
x[!-~]session[!-~]+
{{- if not (hasPrefix "x-session-" $header) -}}
|x[!-~]{{ include "cloakroom.wiring.spellings" (dict "name" (trimPrefix "x-" $header) "any" "[!-~]") }}
{{- end -}}
{{- end -}}

{{/* The headers that exchanges take a JWT from. */}}
{{- define "cloakroom.wiring.exchanged" -}}
{{- $patterns := list -}}
{{- range .Values.wiring.exchangeHeaders -}}
{{- $patterns = append $patterns (include "cloakroom.wiring.spellings" (dict "name" . "any" "[^a-z0-9]")) -}}
{{- end -}}
{{ $patterns | join "|" | default (include "cloakroom.wiring.own" .) }}
{{- end -}}

{{/* What is taken off the trailers of responses. */}}
{{- define "cloakroom.wiring.trailers" -}}
{{ include "cloakroom.wiring.own" . }}
{{- range .Values.wiring.exchangeHeaders -}}
|{{ include "cloakroom.wiring.spellings" (dict "name" . "any" "[^a-z0-9]") }}
{{- end -}}
{{- end -}}

{{/* A file with its values. Takes a dict of `root`, `file` and perhaps `values`. */}}
{{- define "cloakroom.wiring.text" -}}
{{- $text := .root.Files.Get (printf "wiring/%s" .file) | required (printf "wiring/%s is not in the chart" .file) -}}
{{ tpl $text (.values | default dict) }}
{{- end -}}

{{/* The same as an object with this chart's labels; `rest` is perhaps a second file, with the rest of it. */}}
{{- define "cloakroom.wiring.object" -}}
{{- $text := include "cloakroom.wiring.text" . -}}
{{- with .rest }}{{ $text = print $text (include "cloakroom.wiring.text" (merge (dict "file" .) $)) }}{{ end -}}
{{- $object := fromYaml $text -}}
{{- $_ := set $object.metadata "labels" (include "cloakroom.labels" .root | fromYaml) -}}
{{- with .root.Values.global.commonAnnotations }}{{ $_ := set $object.metadata "annotations" . }}{{ end -}}
{{ toYaml $object }}
{{- end -}}
