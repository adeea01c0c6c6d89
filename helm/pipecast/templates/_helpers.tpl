{{- define "pipecast.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* At most 50 characters, so that the suffixes of other objects fit into the 63 characters of a DNS label. */}}
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

{{/* The component label keeps the nodes' Services and disruption budgets from selecting the Redis pod. */}}
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

{{/* The store in use: "external", "bundled" or "embedded". */}}
{{- define "pipecast.store" -}}
{{- $external := .Values.redis.external }}
{{- if or $external.url $external.host (and $external.existingSecret $external.existingSecretUrlKey) }}external
{{- else if .Values.redis.bundled.enabled }}bundled
{{- else }}embedded
{{- end }}
{{- end }}

{{/* The chart's own Secret as it exists in the cluster, as JSON. An empty object if there is none, or no cluster access. */}}
{{- define "pipecast.installedSecret" -}}
{{- lookup "v1" "Secret" .Release.Namespace (include "pipecast.fullname" .) | default dict | toJson }}
{{- end }}

{{/* The content of the chart's own Secret, as JSON: the given value for each key, or an empty one if the chart generates it. */}}
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

{{/* The release revision that last changed the chart's own Secret. As a pod annotation it restarts the pods. It replaces a hash of the
Secret, from which anyone who may read pods could guess a password. Without cluster access it is always the first revision. */}}
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

{{/* The Secret with access keys and the names of its keys, as JSON: secret, publishKey, jwtSecret, keysFile. Absent ones are empty. */}}
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

{{/* The Redis URL, built from its parts. It goes into the ConfigMap, so it contains no password. */}}
{{- define "pipecast.redisUrl" -}}
{{- if eq (include "pipecast.store" .) "bundled" }}
{{- printf "redis://%s-redis:6379/0" (include "pipecast.fullname" .) }}
{{- else }}
{{- $external := .Values.redis.external }}
{{- $user := $external.username | urlquery | replace "+" "%20" }}
{{- printf "%s://%s%s:%d/%d" (ternary "rediss" "redis" $external.tls.enabled) (ternary (printf "%s@" $user) "" (ne $user "")) $external.host (int64 $external.port) (int64 $external.database) }}
{{- end }}
{{- end }}

{{/* The Secret with the full Redis URL, as JSON: secret and key. The secret is empty if the URL is built from its parts. */}}
{{- define "pipecast.redisUrlSecret" -}}
{{- $external := .Values.redis.external }}
{{- if ne (include "pipecast.store" .) "external" }}{{ dict "secret" "" | toJson }}
{{- else if and $external.existingSecret $external.existingSecretUrlKey }}{{ dict "secret" $external.existingSecret "key" $external.existingSecretUrlKey | toJson }}
{{- else if $external.url }}{{ dict "secret" (include "pipecast.fullname" .) "key" "redis-url" | toJson }}
{{- else }}{{ dict "secret" "" | toJson }}
{{- end }}
{{- end }}

{{/* The Secret with only the Redis password, as JSON: secret and key. The secret is empty if there is none. */}}
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

{{/* Node settings that the chart determines. They override `settings`. */}}
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

{{/* A value as TOML. `toToml` would write numbers as floats, which is how Helm parses them, but all Pipecast numbers are integers. */}}
{{- define "pipecast.toml" -}}
{{- if kindIs "string" . }}{{ toJson . }}
{{- else if kindIs "bool" . }}{{ . }}
{{- else if kindIs "slice" . }}[{{ range $i, $value := . }}{{ if $i }}, {{ end }}{{ include "pipecast.toml" $value }}{{ end }}]
{{- else if kindIs "map" . }}{{ "{" }}{{ $first := true }}{{ range $key, $value := . }}{{ if not $first }}, {{ end }}{{ $first = false }}{{ $key }} = {{ include "pipecast.toml" $value }}{{ end }}{{ "}" }}
{{- else }}{{ int64 . }}
{{- end }}
{{- end }}

{{/* A duration from the section `drain`, in seconds. The schema has already checked its format. */}}
{{- define "pipecast.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int64 }}
{{- if hasSuffix "ms" . }}{{ div (add $number 999) 1000 }}
{{- else if hasSuffix "m" . }}{{ mul $number 60 }}
{{- else }}{{ $number }}
{{- end }}
{{- end }}

{{/* The readiness path. Load balancers with their own health checks use the same one. */}}
{{- define "pipecast.readinessPath" -}}
{{- dig "httpGet" "path" "/readyz" .Values.readinessProbe }}
{{- end }}

{{/* The `job` label of the metrics. Each installation has its own, so that their metrics stay separate. */}}
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
{{- fail (printf "terminationGracePeriodSeconds is %d, but must be above the %d s of settings.drain.lead + settings.drain.deadline. Otherwise pods are killed with open streams. Raise it, or set it to null." (int64 $given) $drain) }}
{{- else }}{{ int64 $given }}
{{- end }}
{{- end }}

{{/* Checks that involve several values, which the schema cannot express. */}}
{{- define "pipecast.validate" -}}
{{- $auth := .Values.auth }}
{{- $external := .Values.redis.external }}
{{- if and (eq (include "pipecast.store" .) "embedded") (or (gt (int64 .Values.replicaCount) 1) .Values.autoscaling.enabled) }}
{{- fail "Several nodes need a Redis to share. Set redis.external.url or redis.external.host, or redis.bundled.enabled=true for evaluation. For a single node that keeps events in memory, set replicaCount=1 and autoscaling.enabled=false." }}
{{- end }}
{{- if and $external.url $external.host }}
{{- fail "Set redis.external.url or redis.external.host, not both." }}
{{- end }}
{{- if and $external.existingSecret (not $external.host) (not $external.existingSecretUrlKey) }}
{{- fail "redis.external.existingSecret needs either redis.external.host, if it holds the password, or redis.external.existingSecretUrlKey, if it holds the full URL." }}
{{- end }}
{{- $access := include "pipecast.access" . | fromJson }}
{{- if and (or (eq $auth.publish "token") (eq $auth.subscribe "token")) (not (or $access.publishKey $access.jwtSecret $access.keysFile $auth.jwksUrl)) }}
{{- fail "auth.publish or auth.subscribe is token, but no key or token secret is configured, so no client could use the broker. Set auth.generate=true, auth.publishKey, auth.keys, auth.jwtSecret, auth.jwksUrl or auth.existingSecret." }}
{{- end }}
{{- if and .Values.tls.enabled (not .Values.tls.existingSecret) }}
{{- fail "tls.enabled needs tls.existingSecret: a Secret of type kubernetes.io/tls." }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- fail "serviceMonitor and podMonitor together would scrape every node twice. Enable only one." }}
{{- end }}
{{- if and .Values.autoscaling.enabled (not (or .Values.autoscaling.targetCPUUtilizationPercentage .Values.autoscaling.targetMemoryUtilizationPercentage .Values.autoscaling.targetStreams)) }}
{{- fail "autoscaling needs autoscaling.targetCPUUtilizationPercentage, autoscaling.targetMemoryUtilizationPercentage or autoscaling.targetStreams." }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int64 .Values.autoscaling.minReplicas) (int64 .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas must not exceed autoscaling.maxReplicas." }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute needs httpRoute.parentRefs: the Gateway to attach to." }}
{{- end }}
{{- end }}
