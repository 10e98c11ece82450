{{/* Labels of everything in the release. Call with (list $ "component"). */}}
{{- define "lvs-operator.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: lvs-operator
{{ include "lvs-operator.selector" . }}
{{- end }}

{{/* The labels that find the pods of a component. They never change: selectors are immutable. */}}
{{- define "lvs-operator.selector" -}}
app.kubernetes.io/name: lvs-operator
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Image of a component. Call with (list $ .Values.operator.image). */}}
{{- define "lvs-operator.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- with $root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* User names of the two programs, as the API server and the admission policies see them. */}}
{{- define "lvs-operator.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ .Values.operator.serviceAccount.name }}
{{- end }}
{{- define "lvs-operator.agentUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ .Values.agent.serviceAccount.name }}
{{- end }}

{{/* The address at which the kubelet of the same host finds an agent: any address means loopback, too. */}}
{{- define "lvs-operator.agentProbeHost" -}}
{{- $address := .Values.agent.admin.address -}}
{{- if eq $address "0.0.0.0" }}127.0.0.1{{ else if eq $address "[::]" }}::1{{ else }}{{ trimAll "[]" $address }}{{ end -}}
{{- end }}
