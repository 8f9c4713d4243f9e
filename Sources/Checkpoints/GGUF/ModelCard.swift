public import ByteIO
public import GGUFFormat
internal import Yams

/// What a model's README says of its origin in the YAML at its top: licence, base model, languages. Other tools that make
/// GGUF files carry it in the same keys.
///
/// Source: https://huggingface.co/docs/hub/model-cards
public struct ModelCard: Sendable, Equatable {
  public let license: String?
  public let licenseName: String?
  public let licenseLink: String?
  /// `organization/name`.
  public let baseModels: [String]
  public let languages: [String]
  public let tags: [String]

  static let fileName = "README.md"
  /// Cards are some ten kilobytes.
  fileprivate static let byteLimit = 4 << 20
  /// Lines about what is looked for.
  private static let excerptLimit = 16_384
  private static let keys = ["license", "license_name", "license_link", "base_model", "language", "tags"]

  /// - Returns: nil when the file does not begin with a block between two lines of `---`.
  /// - Throws: `ParseFailure` for a block that is no YAML.
  public init?(parsing bytes: [UInt8]) throws(ParseFailure) {
    guard let excerpt = Self.excerpt(bytes) else { return nil }
    let root: Node?
    do { root = try compose(yaml: excerpt, .basic, .default, .utf8) } catch {
      throw ParseFailure("the block at the top is no YAML", advice: "it is left out of the output's metadata")
    }
    func texts(_ key: String) -> [String] {
      guard let node = root?.mapping?[key] else { return [] }
      if let list = node.sequence { return list.compactMap { $0.scalar?.string } }
      return node.scalar.map { $0.string.isEmpty ? [] : [$0.string] } ?? []
    }
    license = texts("license").first
    licenseName = texts("license_name").first
    licenseLink = texts("license_link").first
    baseModels = texts("base_model")
    languages = texts("language")
    tags = texts("tags")
  }

  /// The lines about what is looked for, and nothing else: cards hold long texts and deep structures, which nobody needs
  /// and an attacker might. What is left is a flat list of `key: value`, and lists below keys.
  private static func excerpt(_ bytes: [UInt8]) -> String? {
    let lines = String(decoding: bytes, as: UTF8.self).split(omittingEmptySubsequences: false) { $0.isNewline }
    guard lines.first == "---" else { return nil }
    var kept = ""
    var isKept = false
    for line in lines.dropFirst() {
      if line == "---" { return kept }
      let content = line.drop { $0 == " " }
      let isItem = content.hasPrefix("- ") && !content.dropFirst(2).drop { $0 == " " }.hasPrefix("-")
      if line.first.map({ $0 != " " && $0 != "-" && $0 != "#" }) ?? false {
        isKept = keys.contains { line.hasPrefix($0 + ":") }
      } else if !isItem {
        continue
      }
      let isFlat = !content.contains { "{}&*!?|>%@`".contains($0) } && content.count { $0 == "[" } <= 1
      guard isKept, isFlat, kept.utf8.count + line.utf8.count < excerptLimit else { continue }
      kept += line + "\n"
    }
    return nil
  }

  /// The keys that llama.cpp's own converter writes of it, with their types.
  public var metadata: [(key: String, value: GGUFValue)] {
    var entries: [(key: String, value: GGUFValue)] = []
    func add(_ key: String, _ text: String?) {
      if let text { entries.append(("general." + key, GGUFValue(text))) }
    }
    add("license", license)
    add("license.name", licenseName)
    add("license.link", licenseLink)
    if !baseModels.isEmpty { entries.append(("general.base_model.count", .uint32(UInt32(baseModels.count)))) }
    for (index, model) in baseModels.enumerated() {
      let parts = model.split(separator: "/", maxSplits: 1)
      add("base_model.\(index).name", parts.last.map(String.init))
      guard parts.count == 2 else { continue }
      add("base_model.\(index).organization", String(parts[0]))
      add("base_model.\(index).repo_url", "https://huggingface.co/" + model)
    }
    for (key, texts) in [("tags", tags), ("languages", languages)] where !texts.isEmpty {
      entries.append(("general." + key, .array(GGUFArray(texts))))
    }
    return entries
  }
}

extension Checkpoint {
  /// The README beside the weights; nil when there is none, or none with a block of YAML.
  /// - Throws: `ParseFailure` for a block that is no YAML, `FileFailure` when it cannot be read.
  public func modelCard() throws -> ModelCard? {
    guard layout == .huggingFace || layout == .meta, leftBehind.contains(ModelCard.fileName) else { return nil }
    let path = directory + "/" + ModelCard.fileName
    do {
      return try ModelCard(parsing: try ReadableFile.contents(of: path, limit: ModelCard.byteLimit))
    } catch let failure as ParseFailure {
      throw failure.in(file: path)
    }
  }
}
