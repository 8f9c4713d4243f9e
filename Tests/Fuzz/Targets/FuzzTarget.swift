/// The readers that face files of strangers, each as a function of bytes: what the fuzzer drives and what the tests replay.
///
/// Whatever the bytes are, a reader ends with a value or a `ParseFailure`. What was read holds its invariants: it can be
/// written again and is then read as the same.
public enum FuzzTarget: String, CaseIterable, Sendable {
  /// A whole safetensors file.
  case safetensors
  /// An index of shards, a NUL, a safetensors file that is the shard `a.safetensors`.
  case shards
  /// A first byte, then: even, a whole `.pth` file; odd, a pickle, put into an archive whose checksums are right.
  case torch
  /// A whole GGUF file.
  case gguf
  /// A whole compact file.
  case compact
  /// A tokenizer file of any form: tiktoken's ranks, SentencePiece's model, `tokenizer.json`.
  case tokenizer
  /// `tokenizer_config.json` or `generation_config.json` beside a small tokenizer.
  case sidecars
  /// `config.json`, `params.json`, or `quantization_config` alone.
  case configuration
  /// A policy in YAML or JSON.
  case policy
  /// A table of `llama-convert sensitivity`.
  case sensitivity
  /// An importance matrix in either of llama.cpp's forms.
  case importance
  /// `tokens.bin`.
  case evidence
  /// `config.json`, a NUL, the JSON header of `model.safetensors`, whose data are zeros: opened, linted, inspected, read.
  case checkpoint
  /// A whole GGUF or compact file, opened as a model: linted, inspected, read, and its tokenizer.
  case model
  /// `params.json`, a NUL, the pickle of `consolidated.00.pth`, whose storages `0` and `1` have 64 bytes: as `model`.
  case meta
  /// Conversations, one JSON document in each line.
  case chat
  /// `SHA256SUMS` as well as `checklist.chk`.
  case sums

  /// - Throws: `FuzzFinding`, and every error of a reader that is no `ParseFailure`.
  public func run(_ input: [UInt8]) throws {
    switch self {
    case .safetensors: try SafetensorsTargets.file(input)
    case .shards: try SafetensorsTargets.shards(input)
    case .torch: try TorchTarget.run(input)
    case .gguf: try GGUFTargets.file(input)
    case .compact: try GGUFTargets.compact(input)
    case .tokenizer: try TokenizerTargets.file(input)
    case .sidecars: try TokenizerTargets.sidecars(input)
    case .configuration: try DocumentTargets.configuration(input)
    case .policy: try DocumentTargets.policy(input)
    case .sensitivity: try DocumentTargets.sensitivity(input)
    case .importance: try GGUFTargets.importance(input)
    case .evidence: try DocumentTargets.evidence(input)
    case .checkpoint: try CheckpointTargets.safetensors(input)
    case .model: try CheckpointTargets.file(input)
    case .meta: try CheckpointTargets.meta(input)
    case .chat: try TokenizerTargets.chat(input)
    case .sums: try DocumentTargets.sums(input)
    }
  }
}

/// A promise of a reader that an input broke.
public struct FuzzFinding: Error, CustomStringConvertible {
  public let description: String
}
