# frozen_string_literal: true

require_relative "support/case"

# What a publisher sends, and what it does when nodes crash, answer late or reject.
class PublishingTest < Case
  ACCEPTED = [202, {}, '{"ids":["1-1"]}'].freeze

  def publish(*list, **options)
    server = answers(*list)
    [server, -> { publisher(server.url, **options).publish(channel: "names", payload: 1) }]
  end

  def test_publishes_one_event_and_returns_its_id
    id = publisher.publish(channel: :names, payload: { name: "Luke", friends: [:han, nil, true, 1.5, 12_345_678_901_234_567_890] })
    payload = { "name" => "Luke", "friends" => ["han", nil, true, 1.5, 12_345_678_901_234_567_890] }
    assert_equal([{ "id" => id, "channel" => "names", "payload" => payload }], @pipeline.history)
  end

  def test_batch_is_split_by_the_limits_and_keeps_its_order
    through = proxy
    ids = publisher(through.url).publish_batch((0...2001).map { |n| { channel: "names", payload: n } })
    assert_equal(2001, ids.uniq.size)
    assert_equal((1901...2001).to_a, @pipeline.payloads)
    assert_equal(3, through.requests.join.scan("POST /").size)
    # Each event has a little more than 256 KiB on the wire, so that 15 of them fit into 4 MiB.
    ids = publisher(through.url).publish_batch([{ "channel" => "names", "payload" => "x" * (256 * 1024 - 7) }] * 16)
    assert_equal(16, ids.size)
    assert_equal(5, through.requests.join.scan("POST /").size)
    assert_equal([], publisher.publish_batch([]))
  end

  def test_connection_is_kept_for_the_next_event
    through = proxy
    publish = publisher(through.url)
    5.times { |n| publish.publish(channel: "names", payload: n) }
    assert_equal(1, through.connections.size)
    through.cut
    publish.publish(channel: "names", payload: 5)
    assert_equal((0..5).to_a, @pipeline.payloads)
  end

  def test_cut_answer_is_retried_without_a_duplicate
    through = proxy
    through.cut_after("HTTP/1.1 202")
    id = publisher(through.url).publish(channel: "names", payload: 1)
    assert_equal(2, through.connections.size)
    assert_equal([id], @pipeline.history.map { |event| event["id"] })
  end

  def test_late_answer_is_retried_without_a_duplicate
    through = proxy
    through.silence
    publishing = Thread.new { publisher(through.url, timeout: 0.5).publish(channel: "names", payload: 1) }
    Deadline.until("it tries again") { through.connections.size > 1 }
    through.speak
    assert_equal([publishing.value], @pipeline.history.map { |event| event["id"] })
  end

  def test_own_key_makes_a_repeated_call_publish_once
    batch = (0...1500).map { |n| { channel: "names", payload: n } }
    first, second = Array.new(2) { publisher.publish_batch(batch, idempotency_key: "job-7") }
    assert_equal(first, second)
    first, second = Array.new(2) { publisher.publish(channel: "names", payload: "one", idempotency_key: "job-8") }
    assert_equal(first, second)
    assert_equal(1501, first.split("-").last.to_i)
    error = assert_raises(Pipecast::PublishError) { publisher.publish(channel: "names", payload: "other", idempotency_key: "job-8") }
    assert_equal([422, false, false], [error.status, error.uncertain?, error.kept?])
    assert_raises(ArgumentError) { publisher.publish(channel: "names", payload: 1, idempotency_key: "two words") }
  end

  def test_one_reachable_node_of_several_is_enough
    publisher([REFUSED, Case.node.url]).publish(channel: "names", payload: 1)
    publisher("#{REFUSED}, #{Case.node.url}/").publish(channel: "names", payload: nil)
    assert_equal([1, nil], @pipeline.payloads)
  end

  def test_invalid_events_raise_at_the_call
    circular = []
    circular << circular
    nested = (1..129).reduce(1) { |inner, _| [inner] }
    [
      [{ channel: 7, payload: 1 }, TypeError, "channel.*Integer"],
      [{ channel: "", payload: 1 }, ArgumentError, "channel.* 0 "],
      [{ channel: "x" * 256, payload: 1 }, ArgumentError, "channel.* 256 "],
      [{ channel: "a\nb", payload: 1 }, ArgumentError, "channel"],
      *["\t", "\e", "\u007f", "\u0080", "\u009b"].map { |c| [{ channel: "a#{c}[2J", payload: 1 }, ArgumentError, 'channel.*U\+00'] },
      [{ channel: "\xFF", payload: 1 }, ArgumentError, "UTF-8"],
      [{ channel: "pipecast.gap", payload: 1 }, ArgumentError, "pipecast."],
      [{ channel: "error", payload: 1 }, ArgumentError, "EventSource"],
      [{ channel: "open", payload: 1 }, ArgumentError, "EventSource"],
      [{ channel: "c", payload: { user: [Object.new] } }, TypeError, 'payload\[:user\]\[0\].*Object'],
      [{ channel: "c", payload: { 1.5 => 1 } }, TypeError, "Float"],
      [{ channel: "c", payload: { "a" => 1, a: 2 } }, ArgumentError, "twice"],
      [{ channel: "c", payload: ["\xFF"] }, ArgumentError, 'payload\[0\].*UTF-8'],
      [{ channel: "c", payload: Float::NAN }, ArgumentError, "NaN"],
      [{ channel: "c", payload: circular }, ArgumentError, "128"],
      [{ channel: "c", payload: nested }, ArgumentError, "128"],
      [{ channel: "c", payload: "x" * 262_144 }, ArgumentError, "262147"],
      [{ channel: "c", payload: [0] * 300_000 }, ArgumentError, "262144"]
    ].each do |event, error, named|
      assert_match(/#{named}/, assert_raises(error) { publisher.publish(**event) }.message)
      assert_match(/event 1: .*#{named}/, assert_raises(error) { publisher.publish_batch([{ channel: "c", payload: 1 }, event]) }.message)
    end
    assert_raises(ArgumentError) { publisher.publish_batch([{ channel: "c" }]) }
    assert_equal([], @pipeline.history)
  end

  def test_text_of_any_encoding_arrives_as_utf8
    texts = ["→ 🙂", "\u2028\0</script>", "gr\xFCn".dup.force_encoding("ISO-8859-1"), "→".b, (1..128).reduce("x") { |inner, _| [inner] }]
    texts.each { |text| publisher.publish(channel: "→ 🙂", payload: text) }
    assert_equal(["→ 🙂", "\u2028\0</script>", "grün", "→", texts.last], @pipeline.payloads)
  end

  def test_objects_with_as_json_are_sent_as_active_support_would
    time = Struct.new(:as_json).new({ "at" => "2026-01-01T00:00:00.000Z" })
    publisher.publish(channel: "names", payload: [time])
    assert_equal([[{ "at" => "2026-01-01T00:00:00.000Z" }]], @pipeline.payloads)
  end

  def test_rejections_by_a_node_are_errors_at_once
    strict = ending(Node.new(limits__max_event_size: "100B", auth__publish: "token", auth__jwt_secret: SECRET,
                             auth__keys: '[{name = "other", key = "0123456789abcdef", publish = ["other"]}, {name = "right", key = "fedcba9876543210", publish = ["*"]}]'))
    { nil => 401, "0123456789abcdef" => 403, "fedcba9876543210" => 413 }.each do |token, status|
      through = proxy(strict.url)
      error = assert_raises(Pipecast::PublishError) { publisher(through.url, token:).publish(channel: "names", payload: "x" * 200) }
      assert_equal([status, false, false], [error.status, error.kept?, error.uncertain?])
      assert_equal([["names", "x" * 200]], error.events.map { |event| [event.channel, event.payload] })
      assert_includes(error.message, error.detail)
      assert_equal(1, through.requests.join.scan("POST /").size)
    end
  end

  def test_rate_limit_is_waited_for
    limited = ending(Node.new(limits__publish_rate_per_pipeline: "1/s"))
    through = proxy(limited.url)
    3.times { |n| publisher(through.url).publish(channel: "names", payload: n) }
    assert_equal([0, 1, 2], Pipeline.new(limited).tap { |pipeline| pipeline.instance_variable_set(:@id, @pipeline.id) }.payloads)
    answered = through.connections.map(&:answer).join
    assert_includes(answered, "429")
    assert_match(/^retry-after: /i, answered)
  end

  def test_unreachable_redis_is_waited_for
    redis = ending(RedisServer.new)
    node = ending(Node.new(redis__url: redis.url))
    through = proxy(node.url)
    redis.signal(:STOP)
    publishing = Thread.new { publisher(through.url).publish(channel: "names", payload: 1) }
    Deadline.until("the node answers 503") { through.connections.any? { |connection| connection.answer.include?(" 503 ") } }
    redis.signal(:CONT)
    assert_equal(1, publishing.value.split("-").last.to_i)
  end

  def test_temporary_failures_are_retried_with_the_same_key
    [408, 429, 502, 503, 504].each do |status|
      server, publishing = publish([status, { "Retry-After" => "0" }, ""], ACCEPTED)
      assert_equal("1-1", publishing.call)
      assert_equal([2, 1], [server.keys.size, server.keys.uniq.size])
    end
  end

  def test_rejections_and_pages_are_errors_at_once
    [200, 301, 307, 400, 401, 403, 404, 413, 422, 500].each do |status|
      server, publishing = publish([status, { "Location" => "/x" }, '{"detail":"do something else"}'], ACCEPTED)
      error = assert_raises(Pipecast::PublishError, &publishing)
      assert_equal([status, "do something else", status == 500], [error.status, error.detail, error.uncertain?])
      assert_equal(1, server.keys.size)
    end
  end

  def test_redirect_names_only_the_origin_of_its_target
    { "https://me:hunter2@other.example/x?token=hunter2" => "https://other.example,", "/x" => "http://127.0.0.1:" }.each do |target, named|
      _, publishing = publish([302, { "Location" => target }, ""])
      error = assert_raises(Pipecast::PublishError, &publishing)
      assert_includes(error.message, named)
      refute_includes(error.message, "hunter2")
    end
  end

  def test_only_ids_are_an_acknowledgement
    ["<html>", "{}", '{"ids":[]}', '{"ids":["queued"]}', '{"ids":["1-1","1-2"]}', '{"ids":[11]}', '{"id":"1-1"}', "[1]", "\xFF", "[" * 10_000].each do |body|
      server, publishing = publish([202, {}, body], ACCEPTED)
      assert_equal("1-1", publishing.call)
      assert_equal([2, 1], [server.keys.size, server.keys.uniq.size])
    end
  end

  def test_retry_after_delays_the_next_attempt_or_ends_them
    [["3600", 429], [(Time.now + 3600).httpdate, 503]].each do |header, status|
      server, publishing = publish([status, { "Retry-After" => header }, ""], ACCEPTED)
      assert_equal(status, assert_raises(Pipecast::PublishError, &publishing).status)
      assert_equal(1, server.keys.size)
    end
    began = Deadline.now
    _, publishing = publish([503, { "Retry-After" => "1" }, ""], ACCEPTED)
    publishing.call
    assert_operator(Deadline.now - began, :>=, 1)
  end

  def test_only_the_beginning_of_an_endless_answer_is_read
    [202, 400, 503].each do |status|
      written = 0
      endless = lambda do |socket|
        4096.times { written += socket.write("x" * 65_536) }
      end
      _, publishing = publish([status, {}, endless], retry_for: 0.001)
      assert_equal(status != 400, assert_raises(Pipecast::PublishError, &publishing).uncertain?)
      assert_operator(written, :<, 64 << 20)
    end
  end

  def test_dripping_answer_times_out
    # A slow answer: the time is what makes it one. It would need ten seconds in all.
    drip = lambda do |socket|
      500.times do
        socket.write("x")
        sleep(0.02)
      end
    end
    [[202, {}, drip], [202, { "X" => "y" }, drip]].each do |answer|
      _, publishing = publish(answer, timeout: 0.5, retry_for: 0.001)
      error = assert_raises(Pipecast::PublishError, &publishing)
      assert_equal(true, error.uncertain?)
      assert_match(/did not respond within 0.5 s/, error.message)
    end
  end

  def test_text_from_an_answer_is_inert_in_a_terminal
    hostile = "\e]0;title\a\u009b2J\u007f\r\npipecast: all is well\u202e\u2066"
    _, publishing = publish([400, {}, JSON.generate(detail: hostile)])
    error = assert_raises(Pipecast::PublishError, &publishing)
    assert_equal(hostile, error.detail)
    assert(error.message.end_with?('\u001b]0;title\u0007\u009b2J\u007f\u000d\u000apipecast: all is well\u202e\u2066'), error.message)
  end

  def test_token_goes_into_the_header_and_into_no_message
    secret = "hunter2-hunter2-hunter2"
    server, publishing = publish([401, {}, ""], token: secret)
    error = assert_raises(Pipecast::PublishError, &publishing)
    assert_equal("Bearer #{secret}", server.requests.first.headers["authorization"])
    shown = [error.full_message, error.inspect, publisher(token: secret).inspect, sender(token: secret).inspect, subscriber(token: secret).inspect]
    ["#{REFUSED}/?", "#{REFUSED}/#", "#{REFUSED}/?token=#{secret}", "http://me:#{secret}@x", "no url #{secret}", "ftp://#{secret}"].each do |url|
      shown << assert_raises(ArgumentError) { publisher(url) }.full_message
    end
    shown << assert_raises(ArgumentError) { publisher(token: "#{secret}\n") }.full_message
    refute_includes(shown.join, "hunter2")
  end

  def test_token_from_a_function_is_asked_for_before_each_attempt
    tokens = %w[first second]
    server, publishing = publish([503, {}, ""], ACCEPTED, token: -> { tokens.shift })
    publishing.call
    assert_equal(["Bearer first", "Bearer second"], server.requests.map { |request| request.headers["authorization"] })
    assert_raises(EOFError) { publisher(token: -> { raise EOFError }).publish(channel: "names", payload: 1) }
  end

  def test_arguments_out_of_range_are_named
    { timeout: 0, retry_for: 401 }.each do |name, value|
      assert_match(/#{name}/, assert_raises(ArgumentError) { publisher(**{ name => value }) }.message)
    end
    ["", ".", "..", "a/b", "ü", "x" * 129, nil].each do |pipeline|
      assert_raises(ArgumentError) { publisher(pipeline:) }
    end
  end

  def test_threads_share_a_publisher
    shared = publisher
    threads = (0...8).map { |t| Thread.new { (0...10).map { |n| shared.publish(channel: "names", payload: [t, n]) } } }
    assert_equal(80, threads.flat_map(&:value).uniq.size)
    assert_equal(80, @pipeline.history.size)
  end
end
