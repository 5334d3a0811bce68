{{/* The image, by istio-cni's rule: an image with a slash is the whole name. */}}
{{- define "sluice.image" -}}
{{- if contains "/" .Values.image -}}
{{ .Values.image }}
{{- else -}}
{{ .Values.hub | default .Values.global.hub }}/{{ .Values.image }}:{{ .Values.tag | default .Values.global.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "sluice.labels" -}}
app.kubernetes.io/name: sluice
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: istio
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* "true" or nothing */}}
{{- define "sluice.enabled" -}}
{{- if or .Values.ambient.enabled (eq .Values.profile "ambient") }}true{{ end -}}
{{- end -}}

{{/* Kubernetes accepts a surge or unavailable nodes, not both. So whoever sets maxUnavailable has no surge. */}}
{{- define "sluice.updateStrategy" -}}
{{- $rolling := .Values.updateStrategy.rollingUpdate | default dict -}}
{{- $strategy := .Values.updateStrategy -}}
{{- if eq $strategy.type "OnDelete" -}}
{{- $strategy = omit $strategy "rollingUpdate" -}}
{{- else if not (has (toString $rolling.maxUnavailable) (list "" "0" "0%" "<nil>")) -}}
{{- $strategy = merge (dict "rollingUpdate" (omit $rolling "maxSurge")) (omit $strategy "rollingUpdate") -}}
{{- end -}}
{{ toYaml $strategy }}
{{- end -}}

{{/* The port of metrics.listen, or nothing. */}}
{{- define "sluice.port" -}}
{{- if .Values.metrics.listen }}{{ regexFind "[0-9]+$" .Values.metrics.listen }}{{ end -}}
{{- end -}}

{{/* The address that the kubelet must probe, if the agent listens on a single one; otherwise nothing, for the node's own. */}}
{{- define "sluice.probeHost" -}}
{{- $host := regexReplaceAll ":[0-9]+$" .Values.metrics.listen "" | trimPrefix "[" | trimSuffix "]" -}}
{{- if not (has $host (list "" "0.0.0.0" "::")) }}{{ $host }}{{ end -}}
{{- end -}}

{{/* The selectors of the agent's configuration; there are none while nothing is to be enrolled. */}}
{{- define "sluice.enablementSelectors" -}}
{{- if include "sluice.enabled" . }}
{{ toYaml .Values.ambient.enablementSelectors | indent 2 }}
{{- else }} []
{{- end }}
{{- end -}}
