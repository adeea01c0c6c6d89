# frozen_string_literal: true

module Pipecast
  # A parser for text/event-stream, as WHATWG HTML 9.2.6 describes it. It does no I/O.
  #
  # @api private
  class EventStream
    # A complete block with data. The id is the stream's newest one, also if an earlier block had it.
    Message = Struct.new(:id, :event, :data)

    # A block is larger than the limit.
    TooLarge = Class.new(StandardError)

    BYTE_ORDER_MARK = "\xEF\xBB\xBF".b.freeze
    private_constant :BYTE_ORDER_MARK

    # The newest id of a complete block, with or without data. "" if there was none, or if the stream has reset it.
    #
    # @return [String]
    attr_reader :last_event_id

    # @return [Integer, nil] milliseconds that the stream asks its client to wait before it reconnects
    attr_reader :retry_ms

    # @param last_event_id [String] what the stream resumes from
    # @param max_bytes [Integer] maximum size of a block
    def initialize(last_event_id: "", max_bytes: 1 << 20)
      @last_event_id = @id = last_event_id
      @max_bytes = max_bytes
      @line = "".b
      @is_first_line = true
      # Whether the last byte was a CR, whose line may go on with an LF.
      @is_after_cr = false
      begin_block
    end

    # Parses the next bytes, which may end anywhere.
    #
    # @yieldparam message [Message]
    # @raise [TooLarge]
    def feed(bytes, &)
      bytes = bytes.b
      position = 0
      position = 1 if @is_after_cr && bytes.getbyte(0) == 0x0A
      @is_after_cr = false unless bytes.empty?
      while (stop = bytes.index(/[\r\n]/n, position))
        take(bytes.byteslice(position, stop - position), &)
        position = stop + 1
        next if bytes.getbyte(stop) == 0x0A

        @is_after_cr = position == bytes.bytesize
        position += 1 if bytes.getbyte(position) == 0x0A
      end
      extend_line(bytes.byteslice(position..))
    end

    private

    def extend_line(bytes)
      @line << bytes
      raise TooLarge if @line.bytesize + @data.bytesize > @max_bytes
    end

    def take(end_of_line, &)
      extend_line(end_of_line)
      line = @line
      @line = "".b
      line = line.delete_prefix(BYTE_ORDER_MARK) if @is_first_line
      @is_first_line = false
      # Every line end is a byte of its own in UTF-8, so a line never begins or ends inside a character.
      line = line.force_encoding(Encoding::UTF_8).scrub("\uFFFD")
      line.empty? ? dispatch(&) : take_field(line)
    end

    def take_field(line)
      # A comment has an empty name, which is ignored like any other unknown one.
      name, colon, value = line.partition(":")
      value = value.delete_prefix(" ") unless colon.empty?
      case name
      when "event" then @event = value
      when "data" then @data << value << "\n"
      when "id" then @id = value unless value.include?("\0")
      when "retry" then @retry_ms = value.to_i if value.match?(/\A[0-9]+\z/)
      end
    end

    def dispatch
      # An id counts from here: with the bytes of an incomplete block it would skip that block after a reconnect.
      @last_event_id = @id
      event, data = @event, @data
      begin_block
      yield Message.new(@last_event_id, event.empty? ? "message" : event, data.delete_suffix("\n")) unless data.empty?
    end

    def begin_block
      @event = ""
      @data = +""
    end
  end
  private_constant :EventStream
end
