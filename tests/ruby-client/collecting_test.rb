# frozen_string_literal: true

require_relative "support/case"

# What a sender collects, and what becomes of it when a flush fails, and when the process ends or forks.
class CollectingTest < Case
  def test_events_arrive_in_order_and_only_after_the_flush
    send = sender
    payload = { name: "Luke", friends: ["Han"] }
    send.sse(channel: "names", payload:)
    payload[:friends] << "Darth"
    20.times { |n| send.sse(channel: "→ 🙂", payload: { n: }) }
    assert_equal([21, []], [send.unsent, @pipeline.history])
    sent = send.flush
    assert_equal(0, send.unsent)
    assert_equal({ "name" => "Luke", "friends" => ["Han"] }, sent.first.payload)
    assert_equal(@pipeline.history, sent.map { |event| event.to_h.transform_keys(&:to_s) })
    assert_equal([], send.flush)
  end

  def test_block_is_flushed_at_its_end_even_if_it_raises
    options = { url: Case.node.url, pipeline: @pipeline.id }
    assert_equal(:done, Pipecast::Send.open(**options) { |send| send.sse(channel: "a", payload: 1) && :done })
    assert_raises(KeyError) do
      Pipecast::Send.open(**options) do |send|
        send.sse(channel: "a", payload: 2)
        raise KeyError
      end
    end
    assert_equal([1, 2], @pipeline.payloads)
  end

  def test_events_go_out_in_as_few_requests_as_the_limits_allow
    through = proxy
    send = sender(through.url)
    2001.times { |n| send.sse(channel: "names", payload: n) }
    assert_equal((0...2001).to_a, send.flush.map(&:payload))
    16.times { send.sse(channel: "names", payload: "x" * (256 * 1024 - 7)) }
    assert_equal(16, send.flush.size)
    assert_equal(5, through.requests.join.scan("POST /").size)
  end

  def test_rejection_hands_the_events_back
    strict = ending(Node.new(limits__max_event_size: "100B"))
    send = sender(strict.url)
    1001.times { |n| send.sse(channel: "names", payload: n.zero? ? "x" * 200 : n) }
    error = assert_raises(Pipecast::PublishError) { send.flush }
    assert_equal([413, false, false, 1000], [error.status, error.kept?, error.uncertain?, error.events.size])
    assert_equal(1, send.unsent)
    assert_equal([1000], send.flush.map(&:payload))
  end

  def test_failed_flush_keeps_events_and_their_key_for_the_next_one
    through = proxy
    send = sender(through.url, timeout: 0.3, retry_for: 0.3)
    1001.times { |n| send.sse(channel: "names", payload: n) }
    through.silence
    error = assert_raises(Pipecast::PublishError) { send.flush }
    assert_equal([true, true, 1000, []], [error.kept?, error.uncertain?, error.events.size, error.sent])
    assert_equal(1001, send.unsent)
    through.speak
    send.sse(channel: "names", payload: 1001)
    sent = sender_with_time(send).flush
    assert_equal((0..1001).to_a, sent.map(&:payload))
    # The silent attempts were stored: nothing is there twice.
    assert_equal(1002, sent.last.id.split("-").last.to_i)
  end

  # A debug build may need longer than the short timeout, and a retry is part of what is tested.
  def sender_with_time(send)
    Deadline.until("a flush succeeds") do
      return Struct.new(:flush).new(@flushed = send.flush)
    rescue Pipecast::PublishError
      false
    end
  end

  def test_later_failure_reports_what_was_sent_before
    acknowledged = JSON.generate(ids: (1..1000).map { |seq| "1-#{seq}" })
    send = sender(answers([202, {}, acknowledged], [403, {}, '{"detail":"not allowed"}']).url)
    1500.times { |n| send.sse(channel: "names", payload: n) }
    error = assert_raises(Pipecast::PublishError) { send.flush }
    assert_equal((0...1000).to_a, error.sent.map(&:payload))
    assert_equal((1000...1500).to_a, error.events.map(&:payload))
  end

  def test_web_page_in_place_of_a_node_costs_no_event
    server = answers([200, {}, "<html>"], [202, {}, '{"ids":["1-1"]}'])
    send = sender(server.url)
    send.sse(channel: "names", payload: 1)
    assert_equal(true, assert_raises(Pipecast::PublishError) { send.flush }.kept?)
    assert_equal([1], send.flush.map(&:payload))
    assert_equal(1, server.keys.uniq.size)
  end

  def test_threads_collect_and_flush_concurrently_without_loss
    send = sender
    threads = Array.new(4) do
      Thread.new do
        500.times do |n|
          send.sse(channel: "names", payload: n)
          send.flush if (n % 100).zero?
        end
      end
    end
    threads.each(&:join)
    send.flush
    assert_equal([0, 2000], [send.unsent, @pipeline.history.last["id"].split("-").last.to_i])
  end

  def test_process_end_sends_events_or_reports_them
    output, status = run_program("Pipecast::Send.new(url: '#{Case.node.url}', pipeline: '#{@pipeline.id}').sse(channel: 'names', payload: 1)
      at_exit { $later.sse(channel: 'names', payload: 2) }
      $later = Pipecast::Send.new(url: '#{Case.node.url}', pipeline: '#{@pipeline.id}')")
    assert_equal(["", 0], [output, status.exitstatus])
    assert_equal([1, 2], @pipeline.payloads)
    unsent = "Pipecast::Send.new(url: '#{REFUSED}', pipeline: 'p', retry_for: 0.2).sse(channel: 'names', payload: 1)\n"
    { "" => 1, "exit 3" => 3, "exit" => 1 }.each do |ending, code|
      output, status = run_program(unsent + ending)
      assert_match(/\Apipecast: 1 event for pipeline p not sent: cannot reach #{REFUSED}.*\n\z/, output)
      assert_equal(code, status.exitstatus)
    end
  end

  def test_process_that_raises_or_is_terminated_still_sends
    ["raise 'failed'", "Process.kill(:TERM, $$); sleep"].each do |ending|
      _, status = run_program("Pipecast::Send.new(url: '#{Case.node.url}', pipeline: '#{@pipeline.id}').sse(channel: 'names', payload: 1)\n#{ending}")
      refute(status.success?)
    end
    assert_equal([1, 1], @pipeline.payloads)
  end

  def test_text_from_an_answer_is_inert_at_the_end_of_the_process
    server = answers([400, {}, JSON.generate(detail: "\e]0;title\a\r\npipecast: all is well")])
    output, = run_program("Pipecast::Send.new(url: '#{server.url}', pipeline: 'p').sse(channel: 'names', payload: 1)")
    assert_match(/\Apipecast: 1 event for pipeline p not sent: 400: \\u001b\]0;title\\u0007\\u000d\\u000apipecast: all is well\n\z/, output)
  end

  def test_forked_process_sends_its_own_events_and_none_of_its_parent
    output, status = run_program(<<~RUBY)
      $send = Pipecast::Send.new(url: '#{Case.node.url}', pipeline: '#{@pipeline.id}')
      $send.sse(channel: 'names', payload: 'before')
      # A flush of another thread is under way while this forks: the child must not wait for its lock.
      $send.flush
      $send.sse(channel: 'names', payload: 'parent')
      children = 3.times.map do |n|
        fork do
          raise 'events of the parent' unless $send.unsent.zero?
          $send.sse(channel: 'names', payload: "child \#{n}")
        end
      end
      silent = fork {}
      [*children, silent].each { |pid| Process.wait2(pid).last.success? or exit 1 }
      $send.sse(channel: 'names', payload: 'parent too')
    RUBY
    assert_equal(["", 0], [output, status.exitstatus])
    payloads = @pipeline.payloads
    assert_equal(["before", "child 0", "child 1", "child 2", "parent", "parent too"], payloads.sort)
    assert_equal(["parent", "parent too"], payloads.last(2))
  end

  def test_fork_during_a_flush_leaves_no_lock_behind
    through = proxy
    through.silence
    output, status = run_program(<<~RUBY)
      $send = Pipecast::Send.new(url: ['#{through.url}', '#{Case.node.url}'], pipeline: '#{@pipeline.id}', timeout: 1)
      $send.sse(channel: 'names', payload: 'parent')
      flushing = Thread.new { $send.flush }
      Thread.pass until flushing.stop?
      child = fork { $send.sse(channel: 'names', payload: 'child') }
      Process.wait2(child).last.success? or exit 1
      flushing.join
    RUBY
    assert_equal(["", 0], [output, status.exitstatus])
    assert_equal(%w[child parent], @pipeline.payloads.sort)
  end

  def test_puma_workers_send_what_they_collected_when_they_stop
    folder = Dir.mktmpdir
    File.write("#{folder}/config.ru", <<~RUBY)
      require "pipecast"
      SEND = Pipecast::Send.new(url: "#{Case.node.url}", pipeline: "#{@pipeline.id}")
      SEND.sse(channel: "names", payload: "master")
      run ->(env) { SEND.sse(channel: "names", payload: env["PATH_INFO"]); [200, {}, [SEND.unsent.to_s]] }
    RUBY
    socket = "#{folder}/puma.sock"
    puma = ending(Server.new("puma", "--workers", "2", "--preload", "--threads", "2:2", "--bind", "unix://#{socket}", "#{folder}/config.ru"))
    puma.await_ready { puma.output.scan("booted").size == 2 }
    40.times { |n| UNIXSocket.open(socket) { |client| client.write("GET /#{n} HTTP/1.0\r\n\r\n") && client.read } }
    assert_equal([], @pipeline.history)
    puma.signal(:TERM)
    puma.await_end
    assert_equal(["master", *(0...40).map { |n| "/#{n}" }].sort, @pipeline.payloads.sort)
  ensure
    FileUtils.remove_entry(folder)
  end

  def test_node_killed_during_a_flush_loses_and_duplicates_nothing
    redis = ending(RedisServer.new)
    victim, survivor = Array.new(2) { ending(Node.new(redis__url: redis.url)) }
    stored = Pipeline.new(survivor)
    send = sender([victim.url, survivor.url], pipeline: stored.id)
    total = 20_000
    total.times { |n| send.sse(channel: "names", payload: n) }
    flushing = Thread.new { send.flush }
    Deadline.until("the flush is under way") { stored.history.any? }
    victim.kill
    assert(flushing.alive?, "the node must be killed before the end")
    sent = flushing.value
    assert_equal((0...total).to_a, sent.map(&:payload))
    # Without a gap in the numbers: each event was stored once, and nothing else.
    seqs = sent.map { |event| event.id.split("-").last.to_i }
    assert_equal((seqs.first...(seqs.first + total)).to_a, seqs)
    assert_equal(stored.history.map { |event| event["id"] }, sent.last(100).map(&:id))
  end
end
