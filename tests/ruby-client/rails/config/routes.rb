# frozen_string_literal: true

Rails.application.routes.draw do
  root "messages#index"
  resource :session, only: %i[new create]
  resource :event_token, only: %i[show create]
  resources :messages, only: %i[index create]
  resources :notes, only: :create
end
