# frozen_string_literal: true

require "json"
require "net/http"
require "securerandom"
require "tmpdir"

require_relative "server"

# A redis-server that keeps nothing on disk.
class RedisServer < Server
  attr_reader :url

  def initialize
    @folder = Dir.mktmpdir
    path = "#{@folder}/redis.sock"
    @url = "redis+unix://#{path}"
    super("redis-server", "--port", "0", "--unixsocket", path, "--dir", @folder, "--save", "")
    # With nothing to load it answers as soon as it listens.
    await_ready { File.socket?(path) }
  end

  def kill
    super
    FileUtils.remove_entry(@folder) if File.exist?(@folder)
  end
end

# A Pipecast node: the real binary, on ports that the system chose.
class Node < Server
  attr_reader :url

  # Settings are given as `stream__keepalive: "1s"`.
  def initialize(listen: "127.0.0.1:0", **settings)
    env = settings.to_h { |name, value| ["PIPECAST_#{name.upcase}", value.to_s] }
    super(ENV.fetch("PIPECAST_BIN"), "serve", "--listen", listen, "--admin-listen", "127.0.0.1:0", env:)
    @settings = settings
    await_ready { ready? }
  end

  # A new process on the same port.
  def restarted
    Node.new(listen: url.delete_prefix("http://"), **@settings)
  end

  # The value of a metric.
  def metric(series)
    Net::HTTP.get(URI("#{@admin_url}/metrics"))[/^#{Regexp.escape(series)} (\S+)$/, 1].to_f
  end

  private

  # The node announces the addresses that it got.
  def ready?
    @url, @admin_url = %w[public admin].map { |listener| output[/^\s*#{listener}\s+(http\S+)/, 1] }
    @admin_url && Net::HTTP.get_response(URI("#{@admin_url}/readyz")).is_a?(Net::HTTPOK)
  rescue SystemCallError
    false
  end
end

# A pipeline that no other test uses, as its node keeps it.
class Pipeline
  attr_reader :id

  def initialize(node, token: nil)
    @node = node
    @token = token
    @id = "p_#{SecureRandom.urlsafe_base64(9)}"
  end

  # The kept events, oldest first, as hashes with `id`, `channel` and `payload`.
  def history
    request { |headers| JSON.parse(Net::HTTP.get(uri, headers), max_nesting: false)["events"] }
  end

  def payloads
    history.map { |event| event["payload"] }
  end

  # Deletes the history.
  def delete
    Net::HTTP.start(uri.host, uri.port) { |http| http.delete(uri.path).value }
  end

  private

  def uri
    URI("#{@node.url}/pipelines/#{@id}/events")
  end

  def request
    yield @token ? { "Authorization" => "Bearer #{@token}" } : {}
  end
end
