# frozen_string_literal: true

require "securerandom"

require_relative "errors"

module Pipecast
  # Lines that are sent together, with their Idempotency-Key.
  #
  # @api private
  class Request
    # The default limits of nodes for one request.
    EVENTS = 1000
    BYTES = 4 * 1024 * 1024
    private_constant :EVENTS, :BYTES

    # How many of the first lines fit into one request. One always does.
    def self.fitting(lines)
      bytes = 0
      lines.first(EVENTS).each_with_index do |line, index|
        bytes += line.text.bytesize
        return index if bytes > BYTES
      end
      [lines.size, EVENTS].min
    end

    attr_reader :lines

    def initialize(lines, key: SecureRandom.uuid)
      @lines = lines
      @key = key
      @body = lines.map(&:text).join
      @is_uncertain = false
    end

    # Sends the lines until they are acknowledged. May be called again after a failure for which {PublishError#kept?} is true.
    #
    # @return [Array<SentEvent>]
    # @raise [PublishError] with {PublishError#events}
    def post(broker)
      # Process.clock_gettime stops while a machine sleeps; the nodes' clocks do not.
      @began ||= Time.now
      raise too_old if Time.now - @began > broker.safe_to_repeat

      ids = broker.post(@body, @key, @lines.size)
      @lines.zip(ids).map { |line, id| line.event(id) }
    rescue PublishError => error
      error.events = @lines.map(&:event)
      error.uncertain = @is_uncertain ||= error.uncertain?
      # If no node received it, it can be sent at any later time.
      @began = nil unless @is_uncertain
      raise
    end

    private

    def too_old
      count = Unsent.count(@lines.size)
      message = "#{count} may or may not have been stored some minutes ago; sending them again could duplicate them"
      PublishError.new(message, uncertain: true)
    end
  end
  private_constant :Request
end
