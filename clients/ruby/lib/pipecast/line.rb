# frozen_string_literal: true

require "json"

require_relative "errors"
require_relative "json_value"

module Pipecast
  # An event as a line of NDJSON, checked when it is passed in: one invalid event makes nodes reject its whole request.
  #
  # @api private
  class Line
    # The default limits of nodes.
    EVENT_BYTES = 256 * 1024
    CHANNEL_BYTES = 255
    private_constant :EVENT_BYTES, :CHANNEL_BYTES

    # @return [String] with its line feed
    attr_reader :text

    # @raise [TypeError, ArgumentError] if the event cannot be sent
    def initialize(channel:, payload:)
      @channel = checked_channel(channel)
      @payload = JsonValue.generate(payload).freeze
      bytes = @channel.bytesize + @payload.bytesize
      raise ArgumentError, "the event has #{bytes} bytes, more than #{EVENT_BYTES}; send a reference to the data instead" if bytes > EVENT_BYTES

      @text = "{\"channel\":#{JSON.generate(@channel)},\"payload\":#{@payload}}\n"
    end

    def event(id = nil)
      SentEvent.new(id: id, channel: @channel, payload: JSON.parse(@payload, max_nesting: false))
    end

    private

    def checked_channel(channel)
      channel = channel.name if channel.is_a?(Symbol)
      raise TypeError, "channel must be a string, not #{channel.class}" unless channel.is_a?(String)

      channel = String.new(channel, encoding: Encoding::UTF_8) if channel.encoding == Encoding::BINARY
      channel = channel.encode(Encoding::UTF_8)
      problem = problem_of(channel)
      raise ArgumentError, "channel #{problem}" if problem

      String.new(channel).freeze
    rescue EncodingError
      raise ArgumentError, "channel cannot be converted to UTF-8"
    end

    def problem_of(channel)
      return "is not valid UTF-8" unless channel.valid_encoding?
      return "has #{channel.bytesize} bytes; give it a name of 1-#{CHANNEL_BYTES}" unless channel.bytesize.between?(1, CHANNEL_BYTES)
      return "contains a line break or NUL, which an event name cannot contain" if channel.match?(/[\r\n\0]/)
      if (control = channel[/[\u0000-\u001f\u007f-\u009f]/])
        return format("contains the control character U+%04X, which would affect a terminal that prints it; remove it", control.ord)
      end
      return 'begins with "pipecast.", which is reserved for events of the broker' if channel.start_with?("pipecast.")

      "is \"#{channel}\", which EventSource uses itself; choose another name" if %w[error open].include?(channel)
    end
  end
  private_constant :Line
end
