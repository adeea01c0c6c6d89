# frozen_string_literal: true

require "uri"

require_relative "errors"
require_relative "event"
require_relative "event_stream"
require_relative "http"
require_relative "options"

module Pipecast
  # Receives a pipeline's events. It reconnects and resumes like a browser's EventSource.
  #
  #   subscriber = Pipecast::Subscriber.new(url: "https://events.example.com", pipeline: "p_aBcDeF")
  #   subscriber.each do |event|
  #     case event
  #     when Pipecast::Gap then reload_state
  #     when Pipecast::Event then puts "#{event.channel}: #{event.payload}"
  #     end
  #   end
  class Subscriber
    include Enumerable

    # Maximum bytes to read of a rejection.
    ANSWER_BYTES = 16 * 1024
    # Bounds for the delay that a stream may ask for, in seconds: no server can make this client hammer it or give up.
    RETRY = (0.1..60.0)
    # The longest delay after several failures in a row, in seconds, unless a server asks for more.
    LAST_DELAY = 30.0
    # How often a pause looks for {#close}, in seconds. A signal handler cannot lock a Mutex to end it.
    SLICE = 0.1
    GAP = "pipecast.gap"
    # What a request can carry as its resume point. Those of Pipecast are far shorter.
    ID = /\A[\x21-\x7e]{1,1024}\z/
    private_constant :ANSWER_BYTES, :RETRY, :LAST_DELAY, :SLICE, :GAP, :ID

    # Why a connection is over. `delay` is nil unless a response asked for one.
    Disconnect = Struct.new(:reason, :was_open, :delay)
    private_constant :Disconnect

    # The resume point: the id of the newest event that the block of {#each} has finished with.
    #
    # An event for which the block raised does not count, so the next {#each} delivers it again.
    #
    # @return [String, nil]
    attr_reader :last_event_id

    # @param pipeline [String] as in /pipelines/p_aBcDeF/sse
    # @param url [String, Array<String>, nil] a node or a load balancer, or several nodes on the same Redis to try in turn.
    #   The default is PIPECAST_URL, or http://127.0.0.1:8080
    # @param token [String, #call, nil] a key or token, or a function that returns the current one: it is called before each
    #   connection. The default is PIPECAST_TOKEN
    # @param channels [Array<String>] only these channels, at most 100. The default is all
    # @param replay [Integer, nil] maximum number of past events, when there is no resume point. The default is all that are kept
    # @param last_event_id [String, nil] start after the event with this id
    # @param timeout [Numeric] maximum seconds to connect, and again to get an answer; above 0 and up to 60
    # @param read_timeout [Numeric] seconds without a byte after which a connection is dead, above 0 and up to 3600. Choose at least twice
    #   the node's keepalive, which is 15 s by default
    # @param max_event_bytes [Integer] maximum size of an event. Raise it if `limits.max_event_size` of the nodes is larger than
    #   1 MiB
    # @param on_disconnect [#call, nil] called with the reason and the seconds until the next attempt, whenever a
    #   connection ends or cannot be made
    # @raise [ArgumentError]
    def initialize(pipeline:, url: nil, token: nil, channels: [], replay: nil, last_event_id: nil, timeout: 10, read_timeout: 45,
                   max_event_bytes: 1 << 20, on_disconnect: nil)
      @pipeline = Options.pipeline(pipeline)
      @uris = Options.urls(url, @pipeline, "sse").each { |uri| uri.query = query(channels, replay) }
      @token = Options.token(token)
      @last_event_id = checked_id(last_event_id)
      @timeout = Options.seconds("timeout", timeout, 0..60)
      @read_timeout = Options.seconds("read_timeout", read_timeout, 0..3600)
      @max_event_bytes = Integer(max_event_bytes)
      @on_disconnect = on_disconnect
      # Until a stream sends its own, from the range from which nodes draw it.
      @retry = rand(1.0..3.0)
      @is_closed = false
      @is_reading = false
    end

    # Yields events and gaps, oldest first, and waits for new ones. Each event after the resume point is yielded once and in order,
    # or a {Gap} reports that events are missing.
    #
    # Returns after {#close}, and when the server answers 204 because the stream has ended for good. `break` closes the
    # connection; another call resumes. Only one `each` at a time may run.
    #
    # Connections that end, break or cannot be made are tried again for as long as it takes, as are 408, 429 and 5xx except 500.
    # Use `on_disconnect:` to log them.
    #
    # @yieldparam event [Event, Gap]
    # @return [nil] or an Enumerator if there is no block
    # @raise [SubscribeError] if the request is rejected for good (400, 401, 403, 404), or if the response is not a stream
    def each(&)
      return enum_for(:each) unless block_given?
      raise Error, "each is already running; create another subscriber" if @is_reading

      @is_reading = true
      begin
        follow(&)
      ensure
        @is_reading = false
      end
    end

    # Ends {#each} for good. May be called from any thread, from the block, and from a signal handler.
    #
    # @return [nil]
    def close
      @is_closed = true
      @connection&.interrupt
      nil
    end

    def closed?
      @is_closed
    end

    # Without the token.
    def inspect
      "#<#{self.class} #{@pipeline} after #{@last_event_id || 'the start'}>"
    end

    private

    def query(channels, replay)
      raise ArgumentError, "replay must be a whole number of events from 0" unless replay.nil? || (replay.is_a?(Integer) && replay >= 0)

      fields = Array(channels).map { |channel| ["channel", channel.to_s] }
      fields << ["replay", replay] if replay
      URI.encode_www_form(fields) unless fields.empty?
    end

    def checked_id(id)
      return if id.nil? || id.empty?
      return id.dup.freeze if id.match?(ID)

      raise ArgumentError, "last_event_id is not valid: use the id of an event, such as 1700000000000-1"
    end

    def follow(&)
      failures = 0
      until @is_closed
        disconnect = attempt(@uris.first, &)
        break if disconnect.nil? || @is_closed

        failures = disconnect.was_open ? 0 : failures + 1
        # Any node can resume the stream, and this one may be about to stop.
        @uris.rotate!
        pause(disconnect, failures)
      end
    end

    def pause(disconnect, failures)
      seconds = delay(disconnect, failures)
      @on_disconnect&.call(disconnect.reason, seconds)
      deadline = now + seconds
      sleep([SLICE, deadline - now].min) until @is_closed || now >= deadline - 0.001
    end

    def delay(disconnect, failures)
      # The server has drawn this time at random: waiting for it is what a browser does.
      return @retry if failures.zero?
      # The next node is tried at once; a delay comes only after all of them.
      return 0.0 if (failures % @uris.size).positive? && disconnect.delay.zero?

      rounds = [failures / @uris.size, 1].max
      disconnect.delay + [@retry * 2**[rounds - 1, 10].min, [@retry, LAST_DELAY].max].min * rand(0.5..1.0)
    end

    # Connects once, and yields until the connection is over.
    #
    # @return [Disconnect, nil] nil if the stream has ended for good
    def attempt(uri, &)
      # Outside of the rescue below: the token may come from a function of the program, whose errors are its own.
      request = request(uri)
      begin
        @connection = Http::Connection.open(uri, @timeout)
        return if @is_closed

        exchange = exchange(@connection, request)
        response = exchange.resume
      rescue *Http::FAILURES => error
        return Disconnect.new("cannot reach #{uri.origin}: #{Visible.line(error.message)}", false, 0.0)
      end
      return rejected(uri, response, exchange) unless response.code == "200"
      return not_a_stream(uri, exchange) unless stream?(response)

      @connection.read_timeout = @read_timeout
      stream = EventStream.new(last_event_id: @last_event_id || "", max_bytes: @max_event_bytes)
      read(uri, stream, exchange, &)
    ensure
      @connection&.drop
      @connection = nil
    end

    # A fiber that gives the response, then the pieces of its body, then nil.
    #
    # The block of {#each} must not run inside of Net::HTTP: left by `break` or an exception, Net::HTTP still reads the end of the
    # chunk, and an error there would replace the `break`. A fiber can be abandoned.
    def exchange(connection, request)
      Fiber.new(blocking: true) do
        connection.request(request) do |response|
          Fiber.yield(response)
          response.read_body { |bytes| Fiber.yield(bytes) }
        end
        nil
      end
    end

    def read(uri, stream, exchange, &)
      until @is_closed
        begin
          bytes = exchange.resume
        rescue *Http::FAILURES => error
          return Disconnect.new("the stream broke: #{Visible.line(error.message)}", true, 0.0)
        end
        return Disconnect.new("the stream ended", true, 0.0) if bytes.nil?

        receive(stream, bytes, &)
      end
    rescue EventStream::TooLarge
      raise SubscribeError, "#{uri.origin} sends an event of more than #{@max_event_bytes} bytes; set max_event_bytes to the limits.max_event_size of its nodes"
    end

    def request(uri)
      # Net::HTTP asks for gzip by default, and would hold small events back.
      headers = { "Accept" => "text/event-stream", "Accept-Encoding" => "identity", "Cache-Control" => "no-cache", "User-Agent" => Http::USER_AGENT }
      token = @token.call
      headers["Authorization"] = "Bearer #{token}" if token
      headers["Last-Event-ID"] = @last_event_id if @last_event_id
      Net::HTTP::Get.new(uri, headers)
    end

    def rejected(uri, response, exchange)
      status = response.code.to_i
      return if status == 204

      detail = Http.detail(beginning(exchange))
      message = Http.rejection(uri.origin, response, detail)
      raise SubscribeError.new(message, status:, detail:) unless Http.temporary?(status)

      Disconnect.new(Visible.line(message), false, Http.retry_after(response))
    end

    def stream?(response)
      response.content_type == "text/event-stream" && [nil, "identity"].include?(response["Content-Encoding"])
    end

    def not_a_stream(uri, exchange)
      # Net::HTTP takes a head that was cut for a complete one.
      return Disconnect.new("the response of #{uri.origin} was cut", false, 0.0) if beginning(exchange).empty?

      raise SubscribeError.new("#{uri.origin} sent a response that is not an event stream", status: 200)
    end

    def beginning(exchange)
      text = +""
      while text.bytesize < ANSWER_BYTES && (bytes = exchange.resume)
        text << bytes
      end
      text
    rescue *Http::FAILURES
      text
    end

    def receive(stream, bytes, &block)
      stream.feed(bytes) do |message|
        hand_over(message, &block)
        return if @is_closed
      end
      # Of blocks without data too.
      commit(stream.last_event_id)
    ensure
      @retry = (stream.retry_ms / 1000.0).clamp(RETRY) if stream.retry_ms
    end

    # Counts the event unless the block has raised or its thread was killed: then the next {#each} delivers it again.
    def hand_over(message)
      is_unfinished = false
      item = item_in(message)
      yield item if item
    rescue Exception # rubocop:disable Lint/RescueException
      is_unfinished = true
      raise
    ensure
      commit(message.id) unless is_unfinished || Thread.current.status == "aborting"
    end

    def commit(id)
      if id.empty?
        @last_event_id = nil
      elsif id.match?(ID)
        @last_event_id = id
      end
    end

    def item_in(message)
      case message.event
      when GAP then Gap.new(message.id, message.data)
      when /\Apipecast\./ then nil
      else Event.new(message.id, message.event, message.data)
      end
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
