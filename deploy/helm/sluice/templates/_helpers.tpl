{{/* The image: istio-cni's rule, so that an image with a slash is the whole of it. */}}
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

{{/* The port of metrics.listen, or nothing. */}}
{{- define "sluice.port" -}}
{{- if .Values.metrics.listen }}{{ regexFind "[0-9]+$" .Values.metrics.listen }}{{ end -}}
{{- end -}}

{{/* The address that the kubelet must ask, if the agent listens on one only; nothing: on the node's own. */}}
{{- define "sluice.probeHost" -}}
{{- $host := regexReplaceAll ":[0-9]+$" .Values.metrics.listen "" | trimPrefix "[" | trimSuffix "]" -}}
{{- if not (has $host (list "" "0.0.0.0" "::")) }}{{ $host }}{{ end -}}
{{- end -}}

{{/* The agent's configuration file. Where things are in the container is said here and in daemonset.yaml. */}}
{{- define "sluice.config" -}}
mode: inPod
inventory:
  source: kubernetes
enablementSelectors:
{{- if include "sluice.enabled" . }}
{{ toYaml .Values.ambient.enablementSelectors | indent 2 }}
{{- else }} []
{{- end }}
excludeNamespaces: {{ toJson .Values.excludeNamespaces }}
ztunnel:
  namespace: {{ .Values.ztunnel.namespace | quote }}
  labels: {{ toJson .Values.ztunnel.labels }}
  serviceAccount: {{ .Values.ztunnel.serviceAccount | quote }}
policy:
  noZtunnel: {{ .Values.policy.noZtunnel }}
  pending: {{ .Values.policy.pending }}
zds:
  socket: {{ printf "%s/ztunnel.sock" .Values.host.ztunnelDir | quote }}
probes:
  exempt: {{ .Values.probes.exempt }}
ambient:
  dnsCapture: {{ .Values.ambient.dnsCapture }}
  ipv6: {{ .Values.ambient.ipv6 }}
exclude:
  outboundPorts: {{ toJson .Values.exclude.outboundPorts }}
  outboundCIDRs: {{ toJson .Values.exclude.outboundCIDRs }}
paths:
  proc: /host/proc
  bpffs: /sys/fs/bpf
  runDir: /run/sluice
{{- if or .Values.kubelet.names .Values.kubelet.cgroup }}
kubelet:
{{- with .Values.kubelet.names }}
  names: {{ toJson . }}
{{- end }}
{{- with .Values.kubelet.cgroup }}
  cgroup: {{ . | quote }}
{{- end }}
{{- end }}
{{- with .Values.capacities }}
capacities: {{ toJson . }}
{{- end }}
sampling: {{ .Values.sampling }}
resyncInterval: {{ .Values.resyncInterval | quote }}
log:
  level: {{ .Values.log.level }}
  format: {{ .Values.log.format }}
{{- with .Values.metrics.listen }}
metrics:
  listen: {{ . | quote }}
{{- end }}
{{- end -}}
