{{- define "haldane.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains "haldane" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-haldane" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "haldane.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "haldane.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "haldane.secret" -}}
{{- default (include "haldane.name" .) .Values.existingSecret -}}
{{- end -}}

{{- /* The pods of the controller. The Lease that its replicas elect with is one for each namespace, so this needs no release. */ -}}
{{- define "haldane.selector" -}}
app.kubernetes.io/name: haldane
app.kubernetes.io/component: controller
{{- end -}}

{{- define "haldane.labels" -}}
app.kubernetes.io/name: haldane
app.kubernetes.io/part-of: haldane
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* What it may do beside that where new models are written to the canary's Deployment. */ -}}
{{- define "haldane.modelSourceRules" -}}
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list]
{{- end -}}

{{- define "haldane.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What the controller may do in the namespaces that it serves. There is no rule about Secrets: they come as files. */ -}}
{{- define "haldane.rules" -}}
- apiGroups: [haldane.dev]
  resources: [rollouts]
  verbs: [get, list, watch, patch]
- apiGroups: [haldane.dev]
  resources: [rollouts/status]
  verbs: [patch]
- apiGroups: [networking.istio.io]
  resources: [virtualservices]
  verbs: [get, list, watch, patch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes, grpcroutes]
  verbs: [get, list, watch, patch]
- apiGroups: [networking.istio.io]
  resources: [destinationrules]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, patch]
{{- end -}}
