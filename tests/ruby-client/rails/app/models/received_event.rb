# frozen_string_literal: true

# An event that this application has received. The newest one's id is where receiving continues after a restart.
class ReceivedEvent < ActiveRecord::Base
  def self.receive(pipeline)
    subscriber = Pipecast::Subscriber.new(
      pipeline: pipeline,
      last_event_id: order(:id).last&.event_id,
      on_disconnect: ->(reason, seconds) { logger.warn("Pipecast: #{reason}; reconnecting in #{seconds.round(1)} s") }
    )
    subscriber.each do |item|
      # Returns the database connection after each event.
      Rails.application.executor.wrap { store(item) }
    end
  end

  def self.store(item)
    case item
    when Pipecast::Event then create!(event_id: item.id, channel: item.channel, payload: item.payload)
    when Pipecast::Gap then logger.error("Pipecast: #{item.missed || 'some'} events were missed (#{item.reason})")
    end
  end
end
