# frozen_string_literal: true

require_relative "broker"
require_relative "line"
require_relative "request"
require_relative "unsent"

module Pipecast
  # Collects events with {#sse} and sends them with {#flush}, or at the end of the block of {.open} or of the process.
  #
  #   Pipecast::Send.open(pipeline: "p_aBcDeF") do |send|
  #     names.each { |name| send.sse(channel: "names", payload: { name: name }) }
  #   end
  #
  # Several threads may share one. A forked process begins without the events that its parent had collected: the parent sends
  # them.
  class Send
    # Yields a sender and flushes it at the end of the block, also if the block raises.
    #
    # @return [Object] what the block returns
    # @raise [PublishError]
    def self.open(**options)
      sender = new(**options)
      begin
        yield sender
      ensure
        sender.flush
      end
    end

    # @return [String]
    attr_reader :pipeline

    # Accepts the same arguments as {Publisher#initialize}.
    def initialize(pipeline:, url: nil, token: nil, timeout: 10, retry_for: 60)
      @broker = Broker.new(url:, pipeline:, token:, timeout:, retry_for:)
      @pipeline = @broker.pipeline
      @collecting = Mutex.new
      @flushing = Mutex.new
      begin_empty
    end

    # Collects an event with a copy of its payload.
    #
    # @param channel [String, Symbol] 1-255 bytes without control characters
    # @param payload [Object] what JSON can carry; with Active Support, anything with a useful `as_json`
    # @return [self]
    # @raise [TypeError, ArgumentError] if the event cannot be sent
    def sse(channel:, payload:)
      line = Line.new(channel:, payload:)
      collecting do
        @lines << line
        Unsent.add(self)
      end
      self
    end

    # @return [Integer] the number of events that are collected but not acknowledged
    def unsent
      collecting { @lines.size + (@begun ? @begun.lines.size : 0) }
    end

    # Sends all collected events in order. Flushes of several threads run one after the other.
    #
    # @return [Array<SentEvent>] the events with their ids
    # @raise [PublishError] Events that a node rejected are only in the error. After any other failure they stay, and the next
    #   flush starts with them. Later events stay in both cases
    def flush
      sent = []
      @flushing.synchronize do
        while (request = next_request)
          sent.concat(deliver(request))
        end
      end
      sent
    rescue PublishError => error
      error.sent = sent
      raise
    end

    # Without the token.
    def inspect
      "#<#{self.class} #{@pipeline}>"
    end

    private

    def begin_empty
      @process = Process.pid
      @lines = []
      # The request that failed last. It keeps its events and its key, because the store may already have it.
      @begun = nil
    end

    def collecting
      @collecting.synchronize do
        begin_empty if @process != Process.pid
        yield
      end
    end

    def next_request
      collecting do
        @begun ||= Request.new(@lines.shift(Request.fitting(@lines))) unless @begun.nil? && @lines.empty?
        Unsent.remove(self) unless @begun
        @begun
      end
    end

    def deliver(request)
      request.post(@broker).tap { @begun = nil }
    rescue PublishError => error
      @begun = nil unless error.kept?
      raise
    end
  end
end
