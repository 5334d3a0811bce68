{{/* The agent's configuration file, as its settings are declared. npm run generate writes this. */}}
{{- define "sluice.config" -}}
mode: inPod
capture: {{ .Values.capture }}
inventory:
  source: kubernetes
enablementSelectors: {{- include "sluice.enablementSelectors" . }}
excludeNamespaces: {{ toJson .Values.excludeNamespaces }}
ztunnel:
  namespace: {{ toJson .Values.ztunnel.namespace }}
  labels: {{ toJson .Values.ztunnel.labels }}
  serviceAccount: {{ toJson .Values.ztunnel.serviceAccount }}
policy:
  noZtunnel: {{ .Values.policy.noZtunnel }}
  pending: {{ .Values.policy.pending }}
  holdLimit: {{ toJson .Values.policy.holdLimit }}
  unknown: {{ .Values.policy.unknown }}
zds:
  socket: {{ printf "%s/ztunnel.sock" .Values.host.ztunnelDir | quote }}
probes:
  exempt: {{ .Values.probes.exempt }}
ambient:
  dnsCapture: {{ toJson .Values.ambient.dnsCapture }}
  ipv6: {{ toJson .Values.ambient.ipv6 }}
  leaveGrace: {{ toJson .Values.ambient.leaveGrace }}
exclude:
  outboundPorts: {{ toJson .Values.exclude.outboundPorts }}
  outboundCIDRs: {{ toJson .Values.exclude.outboundCIDRs }}
paths:
  proc: /host/proc
  bpffs: /sys/fs/bpf
  runDir: /run/sluice
guard:
  podLogs: {{ toJson .Values.guard.podLogs }}
{{- if or .Values.kubelet.names .Values.kubelet.cgroup }}
kubelet:
{{- with .Values.kubelet.names }}
  names: {{ toJson . }}
{{- end }}
{{- with .Values.kubelet.cgroup }}
  cgroup: {{ toJson . }}
{{- end }}
{{- end }}
{{- with .Values.capacities }}
capacities: {{ toJson . }}
{{- end }}
sampling: {{ toJson .Values.sampling }}
lock: wait
resyncInterval: {{ toJson .Values.resyncInterval }}
log:
  level: {{ .Values.log.level }}
  format: {{ .Values.log.format }}
metrics:
{{- with .Values.metrics.listen }}
  listen: {{ toJson . }}
{{- end }}
  socket: /run/sluice-agent/metrics.sock
{{- end -}}
