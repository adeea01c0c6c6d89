# frozen_string_literal: true

class PublishNoteJob < ActiveJob::Base
  retry_on Pipecast::PublishError, wait: 5.seconds, attempts: 5

  def perform(note)
    Pipecast::Publisher.new(pipeline: "p_user_#{note.user}").publish(
      channel: "messages",
      payload: note.as_json(only: %i[id text]),
      idempotency_key: "note-#{note.id}"   # a second run of the job stores nothing
    )
  end
end
