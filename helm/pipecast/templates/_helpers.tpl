{{- define "pipecast.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* 50 characters at most: the suffixes of other objects have to fit into the 63 of a DNS label. */}}
{{- define "pipecast.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "pipecast.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "pipecast.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: pipecast
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The component keeps the Services and budgets of nodes away from the pod of Redis. */}}
{{- define "pipecast.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pipecast.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: broker
{{- end }}

{{- define "pipecast.redisSelectorLabels" -}}
app.kubernetes.io/name: {{ include "pipecast.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: redis
{{- end }}

{{- define "pipecast.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "pipecast.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "pipecast.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* Which store: "external", "bundled" or "embedded". */}}
{{- define "pipecast.store" -}}
{{- $external := .Values.redis.external }}
{{- if or $external.url $external.host (and $external.existingSecret $external.existingSecretUrlKey) }}external
{{- else if .Values.redis.bundled.enabled }}bundled
{{- else }}embedded
{{- end }}
{{- end }}

{{/* The chart's own Secret as the cluster has it: JSON, of which an empty object says that there is none, or no cluster to ask. */}}
{{- define "pipecast.installedSecret" -}}
{{- lookup "v1" "Secret" .Release.Namespace (include "pipecast.fullname" .) | default dict | toJson }}
{{- end }}

{{/* What is in the chart's own Secret: JSON with what was given for each key, empty for what the chart makes. */}}
{{- define "pipecast.ownSecret" -}}
{{- $access := include "pipecast.access" . | fromJson }}
{{- $auth := .Values.auth }}
{{- $external := .Values.redis.external }}
{{- $store := include "pipecast.store" . }}
{{- $data := dict }}
{{- if eq $access.secret (include "pipecast.fullname" .) }}
{{- if $access.publishKey }}
{{- $_ := set $data "publish-key" $auth.publishKey }}
{{- end }}
{{- if $access.jwtSecret }}
{{- $_ := set $data "jwt-secret" $auth.jwtSecret }}
{{- end }}
{{- if $access.keysFile }}
{{- $tables := "" }}
{{- range $auth.keys }}
{{- $tables = printf "%s[[keys]]\n" $tables }}
{{- range $key, $value := . }}
{{- $tables = printf "%s%s = %s\n" $tables $key (include "pipecast.toml" $value) }}
{{- end }}
{{- end }}
{{- $_ := set $data "keys.toml" $tables }}
{{- end }}
{{- end }}
{{- if eq $store "external" }}
{{- if eq (include "pipecast.redisUrlSecret" . | fromJson).secret (include "pipecast.fullname" .) }}
{{- $_ := set $data "redis-url" $external.url }}
{{- else if eq (include "pipecast.redisPasswordSecret" . | fromJson).secret (include "pipecast.fullname" .) }}
{{- $_ := set $data "redis-password" $external.password }}
{{- end }}
{{- end }}
{{- if eq $store "bundled" }}
{{- $_ := set $data "redis-password" .Values.redis.bundled.password }}
{{- end }}
{{- toJson $data }}
{{- end }}

{{/* The revision of the release in which the chart's own Secret was changed last, for pods to be started anew by. Whoever may look at pods
sees it: no hash of a password, which could be guessed at. Without a cluster to ask it is always the first. */}}
{{- define "pipecast.secretRevision" -}}
{{- $installed := include "pipecast.installedSecret" . | fromJson }}
{{- $revision := dig "metadata" "annotations" "pipecast/changed-in-revision" "1" $installed }}
{{- range $key, $given := include "pipecast.ownSecret" . | fromJson }}
{{- $kept := index ($installed.data | default dict) $key | default "" | b64dec }}
{{- if and $installed (or (not $kept) (and $given (ne $given $kept))) }}
{{- $revision = $.Release.Revision }}
{{- end }}
{{- end }}
{{- $revision }}
{{- end }}

{{/* The Secret with keys of access, and what is in it by which key: JSON with secret, publishKey, jwtSecret, keysFile; empty for what is not there. */}}
{{- define "pipecast.access" -}}
{{- $auth := .Values.auth }}
{{- $needed := or (eq $auth.publish "token") (eq $auth.subscribe "token") }}
{{- if not $needed }}
{{- dict "secret" "" "publishKey" "" "jwtSecret" "" "keysFile" "" | toJson }}
{{- else if $auth.existingSecret }}
{{- merge (dict "secret" $auth.existingSecret) $auth.existingSecretKeys | toJson }}
{{- else }}
{{- dict "secret" (include "pipecast.fullname" .)
  "publishKey" (ternary "publish-key" "" (or $auth.generate (ne $auth.publishKey "")))
  "jwtSecret" (ternary "jwt-secret" "" (or $auth.generate (ne $auth.jwtSecret "")))
  "keysFile" (ternary "keys.toml" "" (gt (len $auth.keys) 0)) | toJson }}
{{- end }}
{{- end }}

{{/* The URL of a Redis from its parts. It stands in the ConfigMap, so no password is in it. */}}
{{- define "pipecast.redisUrl" -}}
{{- if eq (include "pipecast.store" .) "bundled" }}
{{- printf "redis://%s-redis:6379/0" (include "pipecast.fullname" .) }}
{{- else }}
{{- $external := .Values.redis.external }}
{{- $user := $external.username | urlquery | replace "+" "%20" }}
{{- printf "%s://%s%s:%d/%d" (ternary "rediss" "redis" $external.tls.enabled) (ternary (printf "%s@" $user) "" (ne $user "")) $external.host (int64 $external.port) (int64 $external.database) }}
{{- end }}
{{- end }}

{{/* The Secret with the whole URL of Redis: JSON with secret and key, empty where the URL is made of parts. */}}
{{- define "pipecast.redisUrlSecret" -}}
{{- $external := .Values.redis.external }}
{{- if ne (include "pipecast.store" .) "external" }}{{ dict "secret" "" | toJson }}
{{- else if and $external.existingSecret $external.existingSecretUrlKey }}{{ dict "secret" $external.existingSecret "key" $external.existingSecretUrlKey | toJson }}
{{- else if $external.url }}{{ dict "secret" (include "pipecast.fullname" .) "key" "redis-url" | toJson }}
{{- else }}{{ dict "secret" "" | toJson }}
{{- end }}
{{- end }}

{{/* The Secret with the password of Redis alone: JSON with secret and key, empty where there is none. */}}
{{- define "pipecast.redisPasswordSecret" -}}
{{- $external := .Values.redis.external }}
{{- if eq (include "pipecast.store" .) "embedded" }}{{ dict "secret" "" | toJson }}
{{- else if eq (include "pipecast.store" .) "bundled" }}{{ dict "secret" (include "pipecast.fullname" .) "key" "redis-password" | toJson }}
{{- else if (include "pipecast.redisUrlSecret" . | fromJson).secret }}{{ dict "secret" "" | toJson }}
{{- else if $external.existingSecret }}{{ dict "secret" $external.existingSecret "key" $external.existingSecretPasswordKey | toJson }}
{{- else if $external.password }}{{ dict "secret" (include "pipecast.fullname" .) "key" "redis-password" | toJson }}
{{- else }}{{ dict "secret" "" | toJson }}
{{- end }}
{{- end }}

{{/* What only the chart can know of the nodes' settings; it wins over `settings`. */}}
{{- define "pipecast.ownSettings" -}}
{{- $access := include "pipecast.access" . | fromJson }}
{{- if .Values.tls.enabled }}
server:
  tls_cert: /etc/pipecast/tls/tls.crt
  tls_key: /etc/pipecast/tls/tls.key
{{- end }}
auth:
  publish: {{ .Values.auth.publish | quote }}
  subscribe: {{ .Values.auth.subscribe | quote }}
  {{- with $access.publishKey }}
  keys:
    - name: publisher
      key_file: /etc/pipecast/access/publish-key
      publish: {{ toJson $.Values.auth.publishKeyPublish }}
      subscribe: {{ toJson $.Values.auth.publishKeySubscribe }}
  {{- end }}
  {{- if $access.keysFile }}
  keys_file: /etc/pipecast/access/keys.toml
  {{- end }}
  {{- if $access.jwtSecret }}
  jwt_secret_file: /etc/pipecast/access/jwt-secret
  {{- end }}
  {{- with .Values.auth.jwksUrl }}
  jwks_url: {{ . | quote }}
  {{- end }}
  {{- with .Values.auth.issuer }}
  issuer: {{ . | quote }}
  {{- end }}
  {{- with .Values.auth.audience }}
  audience: {{ . | quote }}
  {{- end }}
{{- if ne (include "pipecast.store" .) "embedded" }}
redis:
  prefix: {{ .Values.redis.prefix | quote }}
  {{- if not (include "pipecast.redisUrlSecret" . | fromJson).secret }}
  url: {{ include "pipecast.redisUrl" . | quote }}
  {{- end }}
  {{- if (include "pipecast.redisPasswordSecret" . | fromJson).secret }}
  password_file: /etc/pipecast/redis/password
  {{- end }}
  {{- if eq (include "pipecast.store" .) "external" }}
  {{- if .Values.redis.external.tls.caSecret }}
  tls_ca: /etc/pipecast/redis-ca/ca.crt
  {{- end }}
  {{- if .Values.redis.external.tls.clientSecret }}
  tls_cert: /etc/pipecast/redis-client/tls.crt
  tls_key: /etc/pipecast/redis-client/tls.key
  {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "pipecast.config" -}}
{{- $sections := mergeOverwrite (deepCopy .Values.settings) (include "pipecast.ownSettings" . | fromYaml) }}
{{- range $section, $keys := $sections }}
{{- if $keys }}
[{{ $section }}]
{{- range $key, $value := $keys }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ include "pipecast.toml" $value }}
{{- end }}
{{- end }}
{{ end }}
{{- end }}
{{- end }}

{{/* A value as TOML. Numbers of values files are floats, and `toToml` would write them so; all numbers of Pipecast are whole. */}}
{{- define "pipecast.toml" -}}
{{- if kindIs "string" . }}{{ toJson . }}
{{- else if kindIs "bool" . }}{{ . }}
{{- else if kindIs "slice" . }}[{{ range $i, $value := . }}{{ if $i }}, {{ end }}{{ include "pipecast.toml" $value }}{{ end }}]
{{- else if kindIs "map" . }}{{ "{" }}{{ $first := true }}{{ range $key, $value := . }}{{ if not $first }}, {{ end }}{{ $first = false }}{{ $key }} = {{ include "pipecast.toml" $value }}{{ end }}{{ "}" }}
{{- else }}{{ int64 . }}
{{- end }}
{{- end }}

{{/* Seconds of a duration of the section `drain`; the schema has seen to its form. */}}
{{- define "pipecast.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int64 }}
{{- if hasSuffix "ms" . }}{{ div (add $number 999) 1000 }}
{{- else if hasSuffix "m" . }}{{ mul $number 60 }}
{{- else }}{{ $number }}
{{- end }}
{{- end }}

{{/* What readiness asks; a load balancer that checks by itself asks the same. */}}
{{- define "pipecast.readinessPath" -}}
{{- dig "httpGet" "path" "/readyz" .Values.readinessProbe }}
{{- end }}

{{/* The label `job` of the metrics: one for each installation, so that none is counted with another. */}}
{{- define "pipecast.metricsJob" -}}
{{- default (printf "%s/%s" .Release.Namespace (include "pipecast.fullname" .)) .Values.metricsJob }}
{{- end }}

{{- define "pipecast.drainSeconds" -}}
{{- $drain := .Values.settings.drain | default dict }}
{{- add (include "pipecast.seconds" ($drain.lead | default "5s")) (include "pipecast.seconds" ($drain.deadline | default "30s")) }}
{{- end }}

{{- define "pipecast.gracePeriod" -}}
{{- $drain := include "pipecast.drainSeconds" . | int64 }}
{{- $given := .Values.terminationGracePeriodSeconds }}
{{- if kindIs "invalid" $given }}{{ add $drain 10 }}
{{- else if le (int64 $given) $drain }}
{{- fail (printf "terminationGracePeriodSeconds is %d, but must be above the %d s of settings.drain.lead + settings.drain.deadline, or pods are killed with streams open. Raise it, or leave it null." (int64 $given) $drain) }}
{{- else }}{{ int64 $given }}
{{- end }}
{{- end }}

{{/* What the schema cannot say, because it depends on several values. */}}
{{- define "pipecast.validate" -}}
{{- $auth := .Values.auth }}
{{- $external := .Values.redis.external }}
{{- if and (eq (include "pipecast.store" .) "embedded") (or (gt (int64 .Values.replicaCount) 1) .Values.autoscaling.enabled) }}
{{- fail "Several nodes are one broker only when they share a Redis: give redis.external.url or redis.external.host, set redis.bundled.enabled=true to try things out, or replicaCount=1 and autoscaling.enabled=false for a single node that keeps events in memory." }}
{{- end }}
{{- if and $external.url $external.host }}
{{- fail "Give redis.external.url or redis.external.host, not both." }}
{{- end }}
{{- if and $external.existingSecret (not $external.host) (not $external.existingSecretUrlKey) }}
{{- fail "redis.external.existingSecret needs redis.external.host, whose password it holds, or redis.external.existingSecretUrlKey, by which it holds the whole URL." }}
{{- end }}
{{- $access := include "pipecast.access" . | fromJson }}
{{- if and (or (eq $auth.publish "token") (eq $auth.subscribe "token")) (not (or $access.publishKey $access.jwtSecret $access.keysFile $auth.jwksUrl)) }}
{{- fail "auth.publish or auth.subscribe is token, but there is none: nobody could use the broker. Set auth.generate=true, or give auth.publishKey, auth.keys, auth.jwtSecret, auth.jwksUrl or auth.existingSecret." }}
{{- end }}
{{- if and .Values.tls.enabled (not .Values.tls.existingSecret) }}
{{- fail "tls.enabled needs tls.existingSecret, a Secret of the type kubernetes.io/tls." }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- fail "serviceMonitor and podMonitor would scrape everything twice: enable one of them." }}
{{- end }}
{{- if and .Values.autoscaling.enabled (not (or .Values.autoscaling.targetCPUUtilizationPercentage .Values.autoscaling.targetMemoryUtilizationPercentage .Values.autoscaling.targetStreams)) }}
{{- fail "autoscaling needs autoscaling.targetCPUUtilizationPercentage, autoscaling.targetMemoryUtilizationPercentage or autoscaling.targetStreams." }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int64 .Values.autoscaling.minReplicas) (int64 .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas." }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute needs httpRoute.parentRefs: the Gateway that it belongs to." }}
{{- end }}
{{- end }}
