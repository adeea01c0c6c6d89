# frozen_string_literal: true

require_relative "broker"
require_relative "line"
require_relative "request"
require_relative "unsent"

module Pipecast
  # Publishes events and waits until they are stored. Several threads may share one.
  #
  #   publisher = Pipecast::Publisher.new(url: "https://events.example.com", pipeline: "p_aBcDeF", token: ENV["TOKEN"])
  #   id = publisher.publish(channel: "names", payload: { name: "Luke" })
  class Publisher
    # @param pipeline [String] as in /pipelines/p_aBcDeF/sse
    # @param url [String, Array<String>, nil] a node or a load balancer, or several nodes on the same Redis to try in turn.
    #   The default is PIPECAST_URL, or http://127.0.0.1:8080
    # @param token [String, #call, nil] a key or token, or a function that returns the current one: it is called before each
    #   request. The default is PIPECAST_TOKEN
    # @param timeout [Numeric] maximum duration of one attempt in seconds, above 0 and up to 60
    # @param retry_for [Numeric] how long one request is retried in seconds, above 0 and up to 400
    # @raise [ArgumentError]
    def initialize(pipeline:, url: nil, token: nil, timeout: 10, retry_for: 60)
      @broker = Broker.new(url:, pipeline:, token:, timeout:, retry_for:)
    end

    # Publishes one event.
    #
    # @param channel [String, Symbol] 1-255 bytes without control characters
    # @param payload [Object] what JSON can carry; with Active Support, anything with a useful `as_json`
    # @param idempotency_key [String, nil] 1-255 characters of visible ASCII. Within 10 minutes a second call with the same key and
    #   the same event stores nothing, and returns the first one's id. Useful for jobs that may run twice. By default
    #   each call has a key of its own
    # @return [String] the event's id, once it is stored. A stream can resume from it
    # @raise [PublishError] if the event was not acknowledged
    # @raise [TypeError, ArgumentError] if the event cannot be sent
    def publish(channel:, payload:, idempotency_key: nil)
      publish_lines([Line.new(channel:, payload:)], idempotency_key).first.id
    end

    # Publishes events in order.
    #
    # Up to 1,000 events and 4 MiB go into one request, which is stored as a whole or not at all. More events need several
    # requests: if one fails, {PublishError#sent} has the events of those before it.
    #
    # @param events [Enumerable<Hash>] each with `channel:` and `payload:`
    # @param idempotency_key [String, nil] as for {#publish}. With several requests each one adds its number
    # @return [Array<String>] the ids in the order of the events
    # @raise [PublishError, TypeError, ArgumentError] as for {#publish}
    def publish_batch(events, idempotency_key: nil)
      lines = events.each_with_index.map do |event, index|
        Line.new(**event.to_h.transform_keys(&:to_sym))
      rescue TypeError, ArgumentError => error
        raise error.class, "event #{index}: #{error.message}"
      end
      publish_lines(lines, idempotency_key).map(&:id)
    end

    # Without the token.
    def inspect
      "#<#{self.class} #{@broker.pipeline}>"
    end

    private

    def publish_lines(lines, key)
      sent = []
      requests(lines, key).each { |request| sent.concat(request.post(@broker)) }
      sent
    rescue PublishError => error
      error.sent = sent
      error.kept = false
      raise
    end

    def requests(lines, key)
      parts = []
      until lines.empty?
        count = Request.fitting(lines)
        parts << lines.first(count)
        lines = lines.drop(count)
      end
      return parts.map { |part| Request.new(part) } if key.nil?

      keys = parts.each_index.map { |index| parts.size == 1 ? key : "#{key}-#{index + 1}" }
      keys.each { |each_key| check_key(each_key) }
      parts.zip(keys).map { |part, each_key| Request.new(part, key: each_key) }
    end

    def check_key(key)
      return if key.is_a?(String) && key.match?(/\A[\x21-\x7e]{1,255}\z/)

      raise ArgumentError, "idempotency_key must be 1-255 characters of visible ASCII"
    end
  end
end
