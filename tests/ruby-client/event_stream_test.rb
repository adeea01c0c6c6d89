# frozen_string_literal: true

require_relative "support/case"

# The parser of streams, see WHATWG HTML 9.2.6.
class EventStreamTest < Minitest::Test
  # Not part of the gem's interface.
  EventStream = Pipecast.const_get(:EventStream)

  # Every kind of line end, field and block.
  SAMPLE = "\uFEFFretry: 1500\rid: 1-1\nevent: names\r\ndata: {\"n\":\"→ 🙂\"}\n\n:keepalive\r\n\r\n" \
           "id: 1-2\r\rdata\r\n\r\ndata: a\rdata:b\ndata:  c\r\n\r\n\nid: 1-3\ndata: \uFEFF\n\nevent: x\nid\ndata: last\n\n".b.freeze

  # @return [Array] the messages, the newest id, the retry time
  def parsed(*parts, **options)
    stream = EventStream.new(**options)
    messages = []
    parts.each { |part| stream.feed(part) { |message| messages << message.to_a } }
    [messages, stream.last_event_id, stream.retry_ms]
  end

  def test_every_split_of_a_stream_gives_the_same_events
    messages = [
      ["1-1", "names", '{"n":"→ 🙂"}'], ["1-2", "message", ""], ["1-2", "message", "a\nb\n c"], ["1-3", "message", "\uFEFF"], ["", "x", "last"]
    ]
    expected = [messages, "", 1500]
    assert_equal(expected, parsed(SAMPLE))
    (0..SAMPLE.bytesize).each do |first|
      (first..SAMPLE.bytesize).each do |second|
        parts = [SAMPLE.byteslice(0...first), SAMPLE.byteslice(first...second), SAMPLE.byteslice(second..)]
        assert_equal(expected, parsed(*parts), parts.inspect)
      end
    end
    assert_equal(expected, parsed(*SAMPLE.chars))
  end

  def test_random_streams_do_not_depend_on_splits_and_line_ends
    random = Random.new(seed = Random.new_seed)
    pieces = ["data", "event", "id", "retry", ":", ": ", " ", "x", "7", "→", "\0", "\n", "\n", "\n\n", "\uFEFF", "\xFF", "data: y\n", "id: 1-2\n"]
    2000.times do
      text = Array.new(random.rand(1..30)) { pieces.sample(random:).b }.join
      # A line end that is always the last byte of the stream would leave a CR and its LF apart.
      expected = parsed(text)
      parts = text.bytes.slice_when { random.rand(3).zero? }.map { |bytes| bytes.pack("C*") }
      assert_equal(expected, parsed(*parts), "seed #{seed}: #{parts.inspect}")
      ["\r", "\r\n"].each { |line_end| assert_equal(expected, parsed(text.gsub("\n", line_end)), "seed #{seed}: #{text.inspect}") }
      mixed = text.gsub(/\n(?!\n)/) { ["\n", "\r\n"].sample(random:) }
      assert_equal(expected, parsed(*mixed.chars), "seed #{seed}: #{mixed.inspect}")
    end
  end

  def test_message_is_complete_at_the_first_byte_that_ends_it
    stream = EventStream.new
    counts = ["data: 1\r", "\r", "\ndata: 2\r\n", "\r", "\n", "data: 3\n", "\n"].map do |part|
      count = 0
      stream.feed(part) { count += 1 }
      count
    end
    assert_equal([0, 1, 0, 1, 0, 0, 1], counts)
  end

  def test_incomplete_message_and_its_id_do_not_count
    assert_equal([[["1-1", "message", "a"]], "1-1", nil], parsed("id: 1-1\ndata: a\n\nid: 1-2\ndata: b\n"))
    assert_equal([[], "1-7", nil], parsed("id: 1-8\ndata: b", last_event_id: "1-7"))
  end

  def test_id_without_data_counts_and_stays
    assert_equal([[["1-5", "message", "a"]], "1-5", nil], parsed("id: 1-5\n\ndata: a\n\n"))
    assert_equal([[["1-4", "message", "a"]], "1-4", nil], parsed("data: a\n\n", last_event_id: "1-4"))
  end

  def test_fields_follow_the_standard
    {
      "id: 1\0-1\ndata: a\n\n" => [[["", "message", "a"]], "", nil],
      "data:a\ndata: b\ndata:  c\n\n" => [[["", "message", "a\nb\n c"]], "", nil],
      "event: x\n\ndata: a\n\n" => [[["", "message", "a"]], "", nil],
      "event:\ndata: a\n\n" => [[["", "message", "a"]], "", nil],
      "Data: a\n data: b\ndatas: c\n: data: d\n\n" => [[], "", nil],
      "retry: 1s\nretry: -1\nretry: +1\nretry: 1.5\nretry:\nretry: 1 \nretry: ١\n" => [[], "", nil],
      "retry: 007\n" => [[], "", 7],
      "data: \xFF→\xE2\x86\n\n" => [[["", "message", "\uFFFD→\uFFFD"]], "", nil],
      "\uFEFF\uFEFFdata: a\n\n" => [[], "", nil],
      "\n\uFEFFdata: a\n\n" => [[], "", nil],
      "" => [[], "", nil]
    }.each { |text, expected| assert_equal(expected, parsed(text), text.inspect) }
  end

  def test_large_blocks_are_an_error_and_small_ones_are_forgotten
    options = { max_bytes: 100 }
    too_large = EventStream::TooLarge
    assert_equal(1, parsed("data: #{'x' * 90}\n\n", **options).first.size)
    assert_equal(1000, parsed("data: #{'x' * 90}\n\n" * 1000, **options).first.size)
    assert_raises(too_large) { parsed("data: #{'x' * 100}\n\n", **options) }
    assert_raises(too_large) { parsed("x" * 101, **options) }
    assert_raises(too_large) { parsed(*["x"] * 101, **options) }
    assert_raises(too_large) { parsed("data: xxx\n" * 100, **options) }
    assert_raises(too_large) { parsed("data\n" * 200, **options) }
  end
end
