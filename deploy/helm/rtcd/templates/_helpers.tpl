{{- define "rtcd.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "rtcd.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rtcd.labels" -}}
{{ include "rtcd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "rtcd.secret" -}}
{{ .Values.existingSecret | default (include "rtcd.name" .) }}
{{- end }}

{{- /* config.yaml: the values, and the drain that the grace period belongs to. */ -}}
{{- define "rtcd.config" -}}
{{ merge (dict "drain" (dict "timeout" (printf "%ds" (int .Values.drainSeconds)))) .Values.config | toYaml }}
{{- end }}

{{- /* The port of a listener, its first if it is a list. */ -}}
{{- define "rtcd.port" -}}
{{- $at := . }}{{- if kindIs "slice" . }}{{ $at = first . }}{{ end -}}
{{ regexFind "[0-9]+$" $at }}
{{- end }}
