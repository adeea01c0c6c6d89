# frozen_string_literal: true

require_relative "connections"
require_relative "errors"
require_relative "http"
require_relative "options"

module Pipecast
  # Sends requests to one node or several until one acknowledges, each time with the same Idempotency-Key.
  #
  # @api private
  class Broker
    # Maximum bytes to read of a response: for any response, and in addition for each id of an acknowledgement.
    ANSWER_BYTES = 16 * 1024
    ID_BYTES = 64
    # How long nodes remember an Idempotency-Key, in seconds.
    KEY_LIFE = 600.0
    # Delays double from the first to the last, in seconds. Each is drawn from its upper half, so that publishers do not retry in step.
    FIRST_DELAY = 0.2
    LAST_DELAY = 5.0
    # Failures that prove that no node received the request, even on a connection that was open before.
    NotConnected = Class.new(StandardError)
    NEVER_ARRIVED = [NotConnected, Errno::ECONNREFUSED, SocketError, Net::OpenTimeout].freeze
    private_constant :ANSWER_BYTES, :ID_BYTES, :KEY_LIFE, :FIRST_DELAY, :LAST_DELAY, :NEVER_ARRIVED, :NotConnected

    Failure = Struct.new(:error, :is_temporary, :retry_after)
    private_constant :Failure

    attr_reader :pipeline

    def initialize(url:, pipeline:, token:, timeout:, retry_for:)
      @pipeline = Options.pipeline(pipeline)
      @uris = Options.urls(url, @pipeline, "events")
      @token = Options.token(token)
      @timeout = Options.seconds("timeout", timeout, 0..60)
      @retry_for = Options.seconds("retry_for", retry_for, 0..400)
      @connections = Connections.shared
      @current = 0
    end

    # How long after its first attempt a request may be retried without the risk of a duplicate, in seconds.
    def safe_to_repeat
      KEY_LIFE - @retry_for - @timeout
    end

    # Not with the token.
    def inspect
      "#<Pipecast::Broker #{@uris.join(' ')}>"
    end

    # Sends `count` lines of NDJSON until they are acknowledged.
    #
    # @return [Array<String>] their ids
    # @raise [PublishError]
    def post(body, key, count)
      deadline = now + @retry_for
      step = FIRST_DELAY
      asked = 0.0
      uncertain = false
      (1..).each do |tries|
        answer = attempt(@uris[@current % @uris.size], body, key, count)
        return answer if answer.is_a?(Array)

        error = answer.error
        # A later rejection does not tell what became of an earlier attempt.
        error.uncertain = uncertain ||= error.uncertain?
        # A page from another server, with 200, is not a rejection by a node.
        error.kept = answer.is_temporary || error.status < 300
        raise error unless answer.is_temporary

        @current = (@current + 1) % @uris.size
        asked = [asked, answer.retry_after].max
        # The next node is tried at once; a delay comes only after all of them.
        next if (tries % @uris.size).positive?

        delay = asked + step * rand(0.5..1.0)
        raise error if now + delay > deadline

        sleep(delay)
        step = [step * 2, LAST_DELAY].min
        asked = 0.0
      end
    end

    private

    def attempt(uri, body, key, count)
      # Outside of the rescues below: the token may come from a function of the program, whose errors are its own.
      request = request(uri, body, key)
      begin
        answer(uri, count, *ask(uri, request, ANSWER_BYTES + count * ID_BYTES))
      rescue *NEVER_ARRIVED => error
        unanswered("cannot reach #{uri}: #{error.message}", false)
      rescue Timeout::Error
        unanswered("#{uri} did not respond within #{@timeout} s", true)
      rescue *Http::FAILURES => error
        unanswered("cannot reach #{uri}: #{error.message}", true)
      end
    end

    def answer(uri, count, response, text)
      status = response.code.to_i
      if status == 202
        return ids_in(text, count) || unanswered("#{uri} sent an invalid acknowledgement", true)
      end

      detail = Http.detail(text)
      error = PublishError.new(Http.rejection(uri, response, detail), status: status, detail: detail, uncertain: status >= 500)
      Failure.new(error, Http.temporary?(status), Http.retry_after(response))
    end

    def unanswered(message, uncertain)
      Failure.new(PublishError.new(message, uncertain: uncertain), true, 0.0)
    end

    def request(uri, body, key)
      # Uncompressed: a response that is unpacked could be any size.
      headers = { "Content-Type" => "application/x-ndjson", "Accept-Encoding" => "identity", "User-Agent" => Http::USER_AGENT, "Idempotency-Key" => key }
      token = @token.call
      headers["Authorization"] = "Bearer #{token}" if token
      Net::HTTP::Post.new(uri, headers).tap { |post| post.body = body }
    end

    # @return [Array(Net::HTTPResponse, String)] the response, and at most `most` bytes of its body
    def ask(uri, request, most)
      connection = @connections.take(uri)
      is_complete = false
      # The timeouts of Net::HTTP start again with each byte, and there is none for the head as a whole. This interrupts only
      # Net::HTTP, whose connection is then never used again.
      Timeout.timeout(@timeout) do
        connection ||= connect(uri)
        text = nil
        response = connection.request(request) do |head|
          text = Http.beginning(head, most)
          # At the end of the block Net::HTTP would read the rest.
          return [head, text] if text.bytesize >= most
        end
        is_complete = true
        [response, text]
      end
    ensure
      is_complete ? @connections.keep(uri, connection) : connection&.drop
    end

    def connect(uri)
      Http::Connection.open(uri, @timeout)
    rescue *Http::FAILURES => error
      raise NotConnected, error.message
    end

    # One id per event, or nil: then the response is not from a node.
    def ids_in(text, count)
      ids = Http.member(text, "ids")
      ids if ids.is_a?(Array) && ids.size == count && ids.all? { |id| id.is_a?(String) && id.match?(/\A\d+-\d+\z/) }
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
  private_constant :Broker
end
