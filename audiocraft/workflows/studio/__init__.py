"""Jobs of several pieces of music and sound that belong together.

song       sections of one key and tempo, effects, mix, files to give away (`MusicProductionPipeline`)
game       ambience and layered music that follows a game, exported for engines (`GameAudioSystem`)
podcast    music around a voice (`PodcastAudioProcessor`)
"""
