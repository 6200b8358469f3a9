{{/* What pods of this chart have in common. Each takes a dict of `root`, `values` (those of the component) and `component`. */}}

{{/* The labels by which a mesh leaves pods alone. */}}
{{- define "cloakroom.pod.outOfMesh" -}}
{{- if eq .Values.mesh "istio" -}}
# Not in the mesh: its proxies come with certificates of cloakroom's own, and istiod with none.
sidecar.istio.io/inject: "false"
istio.io/dataplane-mode: none
{{- end -}}
{{- end -}}

{{/* `metadata` of the pods. Without the chart's version, which would restart the store for nothing. */}}
{{- define "cloakroom.pod.metadata" -}}
labels:
  {{- include "cloakroom.selector" .component | nindent 2 }}
  app.kubernetes.io/instance: {{ .root.Release.Name }}
  {{- with include "cloakroom.pod.outOfMesh" .root }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .root.Values.global.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .values.podAnnotations .root.Values.global.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where and as what they run. */}}
{{- define "cloakroom.pod.placement" -}}
{{- $global := .root.Values.global -}}
# Names of Services as variables: CLOAKROOM_… of them could be taken for ours, and in a big namespace they slow the start.
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName | default $global.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .values.nodeSelector | default $global.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations | default $global.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Over nodes and zones, where they can be. */}}
{{- define "cloakroom.pod.spread" -}}
topologySpreadConstraints:
{{- with .values.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
{{- $selector := include "cloakroom.selector" .component }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    # Those of one rollout among themselves.
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The time to become unready, to finish, and a little. */}}
{{- define "cloakroom.pod.grace" -}}
{{- $shutdown := merge (dict) (.root.Values.config.shutdown | default dict) (dict "settle" "2s" "drain" "10s") -}}
{{- $seconds := add (include "cloakroom.seconds" $shutdown.settle) (include "cloakroom.seconds" $shutdown.drain) 5 -}}
terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds | default $seconds }}
{{- end -}}

{{/* Probes of the port `health`. Their answer may take a few seconds on a busy node. */}}
{{- define "cloakroom.pod.probes" -}}
{{- $live := dict "httpGet" (dict "path" "/livez" "port" "health") -}}
{{- $ready := dict "httpGet" (dict "path" "/readyz" "port" "health") -}}
{{- $startup := merge (dict "periodSeconds" 1 "timeoutSeconds" 3 "failureThreshold" 120) $live -}}
{{- $readiness := merge (dict "periodSeconds" 2 "timeoutSeconds" 3 "failureThreshold" 2) $ready -}}
{{- $liveness := merge (dict "periodSeconds" 10 "timeoutSeconds" 3 "failureThreshold" 6) $live -}}
startupProbe: {{ toJson (mergeOverwrite $startup (.values.probes.startup | default dict)) }}
readinessProbe: {{ toJson (mergeOverwrite $readiness (.values.probes.readiness | default dict)) }}
livenessProbe: {{ toJson (mergeOverwrite $liveness (.values.probes.liveness | default dict)) }}
{{- end -}}

{{/* A PodDisruptionBudget. */}}
{{- define "cloakroom.pod.budget" -}}
{{- $budget := .values.podDisruptionBudget -}}
{{- if $budget.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "cloakroom.metadata" (dict "root" .root "name" (printf "cloakroom-%s" .component) "component" .component) | nindent 2 }}
spec:
  {{- if not (kindIs "invalid" $budget.minAvailable) }}
  minAvailable: {{ $budget.minAvailable }}
  {{- else if not (kindIs "invalid" $budget.maxUnavailable) }}
  maxUnavailable: {{ $budget.maxUnavailable }}
  {{- else }}
  maxUnavailable: 1
  {{- end }}
  # A pod that is not ready guards nothing.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "cloakroom.selector" .component | nindent 6 }}
{{- end -}}
{{- end -}}
