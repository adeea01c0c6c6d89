# frozen_string_literal: true

require "openssl"

require_relative "support/case"
require_relative "support/reading"

# What a subscriber receives through connections that break, nodes that stop, and tokens that expire.
class SubscribingTest < Case
  HEAD = { "Content-Type" => "text/event-stream; charset=utf-8" }.freeze

  def read(*arguments, **options)
    ending(Reading.new(subscriber(*arguments, **options)))
  end

  def batch(range)
    range.map { |n| { channel: "n", payload: n } }
  end

  def test_history_comes_first_and_then_live_events
    publisher.publish_batch(batch(0...3))
    reading = read
    reading.await(3)
    id = publisher.publish(channel: "→ 🙂", payload: { name: "Luke\n\u2028" })
    event = reading.await(4).last
    assert_equal([id, "→ 🙂", "{\"name\":\"Luke\\n\u2028\"}", { "name" => "Luke\n\u2028" }], [event.id, event.channel, event.data, event.payload])
    Deadline.until("the id counts") { reading.subscriber.last_event_id == id }
    assert_equal([0, 1, 2], reading.payloads.first(3))
  end

  def test_channels_replay_and_resume_point_choose_what_arrives
    ids = publisher.publish_batch((0...10).map { |n| { channel: n.even? ? "even" : "odd #{n}", payload: n } })
    assert_equal([0, 2, 3, 4], subscriber(channels: ["even", "odd 3"]).first(4).map(&:payload))
    assert_equal([8, 9], subscriber(replay: 2).first(2).map(&:payload))
    assert_equal([7, 8], subscriber(last_event_id: ids[6]).first(2).map(&:payload))
    reading = read(replay: 0)
    Deadline.until("the stream begins") { reading.subscriber.last_event_id == ids.last }
    publisher.publish(channel: "odd", payload: 10)
    assert_equal([10], reading.await(1).map(&:payload))
  end

  def test_break_ends_the_connection_and_the_next_call_resumes
    publisher.publish_batch(batch(0...5))
    one = subscriber
    assert_equal([0, 1], one.first(2).map(&:payload))
    one.each { |event| break if event.payload == 3 }
    assert_equal([4], one.first(1).map(&:payload))
    Deadline.until("the node has no stream of it") { Case.node.metric("pipecast_streams").zero? }
  end

  def test_event_for_which_the_block_raised_is_delivered_again
    publisher.publish_batch(batch(0...3))
    one = subscriber
    # An error of a class that a broken connection has too.
    [EOFError, Net::ReadTimeout, Errno::ECONNRESET, KeyError, Interrupt].each do |error|
      assert_raises(error) { one.each { |event| raise error if event.payload == 1 } }
    end
    assert_equal([1, 2], one.first(2).map(&:payload))
  end

  def test_killed_thread_does_not_count_the_event_it_was_working_on
    publisher.publish_batch(batch(0...2))
    one = subscriber
    is_working = false
    thread = Thread.new do
      one.each do
        is_working = true
        sleep
      end
    end
    Deadline.until("it works") { is_working }
    thread.kill.join
    assert_nil(one.last_event_id)
    assert_equal([0], one.first(1).map(&:payload))
  end

  def test_cuts_at_random_bytes_lose_duplicate_and_reorder_nothing
    random = Random.new(seed = Random.new_seed)
    through = proxy
    through.hurry
    # From inside the head of the answer to behind several events.
    through.cut_each { random.rand(1..3000) }
    reading = read(through.url)
    total = 1500
    publish = publisher
    (0...total).each_slice(15) do |slice|
      publish.publish_batch(batch(slice))
      # Never further ahead than the history is long.
      Deadline.until("a history is received", describe: -> { "seed #{seed}, #{reading.payloads.last}" }) { reading.items.size >= slice.last - 60 }
    end
    reading.await(total)
    assert_equal((0...total).to_a, reading.payloads, "seed #{seed}")
    assert_equal([], reading.gaps)
    assert_operator(through.connections.size, :>, 20)
  end

  def test_cut_at_every_byte_of_an_event_loses_and_duplicates_nothing
    publisher.publish_batch(batch(0...2))
    head = nil
    stop = 0
    through = proxy
    through.hurry
    through.cut_each { head && stop }
    # The number of bytes until the first event ends, from a connection that is not cut.
    subscriber(through.url).first(2)
    answer = through.connections.first.answer
    head = answer.index("id: ")
    (head..answer.bytesize).each do |bytes|
      stop = bytes
      through.cut_each { stop.tap { stop = nil } }
      assert_equal([0, 1], subscriber(through.url).first(2).map(&:payload), "cut after #{bytes} bytes")
    end
  end

  def test_gap_is_reported_once
    through = proxy
    through.hurry
    reading = read(through.url)
    first = publisher.publish(channel: "n", payload: 0)
    reading.await(1)
    through.refuse
    through.cut
    publisher.publish_batch(batch(1..150))
    through.accept
    reading.await(102)
    gap = reading.items[1]
    assert_instance_of(Pipecast::Gap, gap)
    assert_equal(["trimmed", first, 50], [gap.reason, gap.after, gap.missed])
    assert_equal((51..150).to_a, reading.payloads.last(100))
    3.times do |n|
      through.cut
      publisher.publish(channel: "n", payload: 151 + n)
      reading.await(103 + n)
    end
    assert_equal([0, *51..153], reading.payloads)
    assert_equal([gap], reading.gaps)
  end

  def test_unknown_resume_point_is_a_gap_and_what_is_kept_follows
    publisher.publish_batch(batch(0...2))
    gap, *events = subscriber(last_event_id: "not-an-id").first(3)
    assert_equal(["unknown", nil, [0, 1]], [gap.reason, gap.missed, events.map(&:payload)])
  end

  def test_node_restart_on_redis_loses_and_duplicates_nothing
    redis = ending(RedisServer.new)
    node = ending(Node.new(redis__url: redis.url))
    second = ending(Node.new(redis__url: redis.url))
    stored = Pipeline.new(second)
    reasons = []
    reading = read(node.url, pipeline: stored.id, on_disconnect: ->(reason, seconds) { reasons << [reason, seconds] })
    publish = publisher([second.url], pipeline: stored.id)
    publish.publish_batch(batch(0...10))
    reading.await(10)
    node.kill
    publish.publish_batch(batch(10...20))
    Deadline.until("an attempt fails") { reasons.any? { |reason, _| reason.start_with?("cannot reach") } }
    ending(node.restarted)
    reading.await(20)
    publish.publish_batch(batch(20...30))
    reading.await(30)
    assert_equal((0...30).to_a, reading.payloads)
    assert_equal([], reading.gaps)
    assert(reasons.all? { |_, seconds| seconds.between?(0.1, 60) }, reasons.inspect)
  end

  def test_other_node_of_a_list_continues_the_stream
    redis = ending(RedisServer.new)
    victim, survivor = Array.new(2) { ending(Node.new(redis__url: redis.url)) }
    stored = Pipeline.new(survivor)
    reading = read([victim.url, survivor.url], pipeline: stored.id)
    publish = publisher(survivor.url, pipeline: stored.id)
    publish.publish_batch(batch(0...5))
    reading.await(5)
    victim.kill
    publish.publish_batch(batch(5...10))
    reading.await(10)
    assert_equal((0...10).to_a, reading.payloads)
  end

  def test_silent_connection_is_left_after_the_read_timeout
    node = ending(Node.new(stream__keepalive: "1s"))
    through = proxy(node.url)
    through.hurry
    stored = Pipeline.new(node)
    reasons = []
    reading = read(through.url, pipeline: stored.id, read_timeout: 3, on_disconnect: ->(reason, _) { reasons << reason })
    publish = publisher(node.url, pipeline: stored.id)
    publish.publish(channel: "n", payload: 0)
    reading.await(1)
    # Keepalives hold a quiet stream open for longer than the timeout.
    Deadline.until("keepalives arrive") { through.connections.first.answer.scan(":keepalive").size > 4 }
    assert_equal([], reasons)
    through.silence
    publish.publish(channel: "n", payload: 1)
    Deadline.until("it leaves") { reasons.any? }
    through.speak
    reading.await(2)
    assert_equal([0, 1], reading.payloads)
  end

  def test_rejections_are_final
    node = ending(Node.new(auth__subscribe: "token", auth__publish: "open", auth__keys: '[{name = "a", key = "0123456789abcdef", subscribe = ["other"]}]'))
    { [node.url, nil] => 401, [node.url, "0123456789abcdef"] => 403, ["#{node.url}/elsewhere", nil] => 404 }.each do |(url, token), status|
      through = proxy(node.url)
      error = read(url.sub(node.url, through.url), token:).result
      assert_instance_of(Pipecast::SubscribeError, error)
      assert_equal(status, error.status)
      assert_includes(error.message, error.detail)
      assert_equal(1, through.requests.join.scan("GET /").size)
    end
  end

  def test_responses_that_are_not_a_stream_are_final
    [
      [[200, { "Content-Type" => "text/html" }, "<html>"], 200, "not an event stream"],
      [[200, HEAD.merge("Content-Encoding" => "gzip"), "x"], 200, "not an event stream"],
      [[302, { "Location" => "https://me:hunter2@other.example/?token=hunter2" }, ""], 302, "redirects to https://other.example,"],
      [[400, {}, JSON.generate(detail: "\e[2J")], 400, '\u001b[2J'],
      [[500, {}, ""], 500, "500"]
    ].each do |answer, status, named|
      server = answers(answer)
      error = read(server.url).result
      assert_equal(status, error.status)
      assert_includes(error.message, named)
      refute_includes(error.message, "hunter2")
      assert_equal(1, server.requests.size)
    end
  end

  def test_cut_heads_are_not_final
    publisher.publish(channel: "n", payload: 0)
    through = proxy
    subscriber(through.url).first
    head = through.connections.first.answer.index("\r\n\r\n") + 4
    # One reader for each byte of the head, all at once: the first delay is one of seconds.
    cuts = (0..head).to_a
    through.cut_each { cuts.shift }
    readings = cuts.map { read(through.url) }
    readings.each { |reading| reading.await(1) }
    assert_equal([[0]], readings.map(&:payloads).uniq)
  end

  def test_204_ends_the_stream
    server = answers([200, HEAD, "retry: 100\n\nid: 1-1\ndata: 1\n\n"], [204, {}, ""])
    reading = read(server.url)
    assert_nil(reading.result)
    assert_equal([1], reading.payloads)
    assert_equal([nil, "1-1"], server.requests.map { |request| request.headers["last-event-id"] })
  end

  def test_temporary_failures_are_retried_and_retry_after_is_honoured
    failures = [408, 429, 502, 503, 504].map { |status| [status, { "Retry-After" => "0" }, ""] }
    server = answers([200, HEAD, "retry: 100\n\n"], *failures, [503, { "Retry-After" => "1" }, ""], [204, {}, ""])
    delays = []
    assert_nil(read(server.url, on_disconnect: ->(_, seconds) { delays << seconds }).result)
    assert_equal(8, server.requests.size)
    assert_equal(0.1, delays.first)
    # Doubled after each failure, and drawn from the upper half.
    delays[1..5].each_with_index { |seconds, index| assert_includes((0.05 * 2**index)..(0.1 * 2**index), seconds) }
    assert_operator(delays.last, :>=, 1)
  end

  def test_retry_of_a_stream_is_bounded
    { 0 => 0.1, 1234 => 1.234, 999_999_999_999 => 60.0 }.each do |ms, expected|
      delay = nil
      one = subscriber(answers([200, HEAD, "retry: #{ms}\n\n"]).url, on_disconnect: lambda { |_, seconds|
        delay = seconds
        one.close
      })
      assert_nil(one.each { flunk("nothing arrives") })
      assert_equal(expected, delay)
    end
  end

  def test_connection_that_ends_inside_an_event_does_not_deliver_it
    server = answers([200, HEAD, "retry: 100\nid: 1-1\ndata: 1\n\nid: 1-2\ndata: 2\n"], [204, {}, ""])
    reading = read(server.url)
    assert_nil(reading.result)
    assert_equal([1], reading.payloads)
    assert_equal("1-1", server.requests.last.headers["last-event-id"])
  end

  def test_event_larger_than_the_limit_is_an_error_that_names_the_setting
    publisher.publish(channel: "n", payload: "x" * 250_000)
    error = assert_raises(Pipecast::SubscribeError) { subscriber(max_event_bytes: 1000).first(1) }
    assert_match(/1000 bytes.*max_event_bytes/, error.message)
    assert_equal(250_000, subscriber.first.payload.size)
  end

  def test_token_function_is_called_for_each_connection
    node = ending(Node.new(auth__subscribe: "token", auth__publish: "open", auth__jwt_secret: SECRET))
    through = proxy(node.url)
    through.hurry
    stored = Pipeline.new(node)
    calls = 0
    token = lambda do
      calls += 1
      jwt("exp" => Time.now.to_i + 4, "pipecast" => { "subscribe" => [stored.id] })
    end
    reading = read(through.url, pipeline: stored.id, token:)
    publish = publisher(node.url, pipeline: stored.id)
    n = 0
    # Streams end with their tokens; each of the next ones needs a new one.
    Deadline.until("tokens are renewed") do
      publish.publish(channel: "n", payload: n)
      reading.await(n += 1)
      calls >= 3
    end
    assert_equal((0...n).to_a, reading.payloads)
    assert_equal(3, through.requests.join.scan(/^Authorization: Bearer (\S+)/).uniq.size)
    assert_equal(401, read(through.url, pipeline: stored.id, token: -> { jwt("exp" => 1, "pipecast" => { "subscribe" => ["*"] }) }).result.status)
  end

  def jwt(claims)
    parts = [{ "alg" => "HS256", "typ" => "JWT" }, claims].map { |part| [JSON.generate(part)].pack("m0").tr("+/", "-_").delete("=") }
    signature = OpenSSL::HMAC.digest("SHA256", SECRET, parts.join("."))
    [*parts, [signature].pack("m0").tr("+/", "-_").delete("=")].join(".")
  end

  def test_errors_of_the_programs_functions_are_its_own
    assert_raises(EOFError) { subscriber(token: -> { raise EOFError }).first }
    assert_raises(Errno::EPIPE) { subscriber(REFUSED, on_disconnect: ->(*) { raise Errno::EPIPE }).first }
  end

  def test_close_ends_reading_from_a_thread_the_block_and_a_signal_handler
    waiting = read
    Deadline.until("it is connected") { waiting.subscriber.instance_variable_get(:@connection) }
    waiting.subscriber.close
    assert_nil(waiting.result)
    assert(waiting.subscriber.closed?)
    assert_nil(waiting.subscriber.each { flunk("it is closed") })
    pausing = read(REFUSED)
    pausing.subscriber.close
    assert_nil(pausing.result)
    publisher.publish_batch(batch(0...3))
    seen = []
    inner = subscriber
    inner.each { |event| inner.close if (seen << event.payload).size == 2 }
    assert_equal([0, 1], seen)
    ["'#{Case.node.url}'", "'#{REFUSED}'"].each do |url|
      output, status = run_program(<<~RUBY)
        subscriber = Pipecast::Subscriber.new(url: #{url}, pipeline: "p_closing")
        trap("TERM") { subscriber.close }
        Thread.new { sleep(0.01) until Thread.main.stop?; Process.kill("TERM", Process.pid) }
        p subscriber.each { raise "nothing arrives" }
      RUBY
      assert_equal(["nil\n", 0], [output, status.exitstatus])
    end
  end

  def test_only_one_each_runs_at_a_time
    publisher.publish(channel: "n", payload: 1)
    reading = read
    reading.await(1)
    assert_match(/already running/, assert_raises(Pipecast::Error) { reading.subscriber.each { nil } }.message)
  end

  def test_forked_process_does_not_keep_the_connection_open
    publisher.publish(channel: "n", payload: 1)
    reading = read
    reading.await(1)
    child = fork do
      sleep
    ensure
      exit!
    end
    reading.stop
    Deadline.until("the node has no stream of it") { Case.node.metric("pipecast_streams").zero? }
  ensure
    Process.kill(:KILL, child)
    Process.wait(child)
  end

  def test_tls_publishes_subscribes_and_closes_and_checks_the_certificate
    folder = Dir.mktmpdir
    write_certificate(folder)
    node = ending(Node.new(server__tls_cert: "#{folder}/cert.pem", server__tls_key: "#{folder}/key.pem"))
    program = <<~RUBY
      options = { url: "#{node.url}", pipeline: "p_tls" }
      Pipecast::Publisher.new(**options, retry_for: 0.1).publish_batch([{ channel: "n", payload: 1 }, { channel: "n", payload: 2 }])
      subscriber = Pipecast::Subscriber.new(**options)
      p subscriber.first(2).map(&:payload)
      trap("TERM") { subscriber.close }
      Thread.new { sleep(0.01) until Thread.main.stop?; Process.kill("TERM", Process.pid) }
      p subscriber.each { raise "nothing arrives" }
    RUBY
    ENV["SSL_CERT_FILE"] = "#{folder}/cert.pem"
    output, status = run_program(program)
    assert_equal(["[1, 2]\nnil\n", 0], [output, status.exitstatus])
    ENV.delete("SSL_CERT_FILE")
    output, status = run_program(program)
    assert_match(/certificate verify failed.*PublishError/m, output)
    assert_equal(1, status.exitstatus)
  ensure
    ENV.delete("SSL_CERT_FILE")
    FileUtils.remove_entry(folder)
  end

  # A certificate for 127.0.0.1 that is its own authority.
  def write_certificate(folder)
    command = %w[openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=test -addext subjectAltName=IP:127.0.0.1]
    _, status = Open3.capture2e(*command, "-days", "1", "-keyout", "#{folder}/key.pem", "-out", "#{folder}/cert.pem")
    assert(status.success?)
  end

  def test_arguments_out_of_range_are_named
    { timeout: 0, read_timeout: 3601, replay: -1, last_event_id: "a\nb", max_event_bytes: "x" }.each do |name, value|
      error = assert_raises(ArgumentError) { subscriber(**{ name => value }) }
      assert_match(/#{name}|Integer/, error.message)
    end
  end
end
