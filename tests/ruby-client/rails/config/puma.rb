# frozen_string_literal: true

workers 2
threads 3, 3
preload_app!

# Only one worker receives: each one would receive every event.
if ENV["RECEIVER"] == "thread"
  on_worker_boot do |index|
    Thread.new { ReceivedEvent.receive("p_user_luke") } if index.zero?
  end
end
