import ByteIO
import Checkpoints
import GGUFFormat
import Support
import Testing

/// The README of a published model, shortened, and what must not trouble anybody.
@Suite struct ModelCardTests {
  private func card(_ text: String) throws -> ModelCard? { try ModelCard(parsing: Array(text.utf8)) }

  @Test func readsWhatPublishedCardsHave() throws {
    let text = """
      ---
      language:
      - en
      - de
      license: llama3.1
      license_name: "the licence"   # a remark
      license_link: https://example.org/LICENSE
      base_model: meta-llama/Meta-Llama-3.1-8B
      tags: [facebook, meta]
      extra_gated_prompt: >-
        ### LICENSE AGREEMENT
        license: not this one
        base_model: nor this
      model-index:
      - name: x
        results:
        - task: {type: text}
      ---
      # A model
      license: nor this
      """
    let card = try #require(try card(text))
    #expect(card.license == "llama3.1" && card.licenseName == "the licence")
    #expect(card.licenseLink == "https://example.org/LICENSE")
    #expect(card.baseModels == ["meta-llama/Meta-Llama-3.1-8B"])
    #expect(card.languages == ["en", "de"] && card.tags == ["facebook", "meta"])
    let keys = card.metadata
    #expect(
      keys.map(\.key) == [
        "general.license", "general.license.name", "general.license.link", "general.base_model.count",
        "general.base_model.0.name", "general.base_model.0.organization", "general.base_model.0.repo_url",
        "general.tags",
        "general.languages",
      ])
    #expect(keys[3].value == .uint32(1) && keys[4].value == GGUFValue("Meta-Llama-3.1-8B"))
  }

  @Test(arguments: [
    "", "# A model\nlicense: x", "---", "---\nlicense: x", "---\nlicense: x\n--- \n", " ---\nlicense: x\n---\n",
  ])
  func aCardWithoutABlockIsNone(_ text: String) throws { #expect(try card(text) == nil) }

  @Test(arguments: [
    "license: x\nlicense: y", "license: \"x", "base_model: b\n- a", "tags: [a, b", "license: [a: b: c",
  ])
  func whatIsNoYAMLIsRefused(_ block: String) {
    #expect(throws: ParseFailure.self) { try card("---\n\(block)\n---\n") }
  }

  /// Neither depth nor anchors nor size reach the parser.
  @Test func hostileBlocksAreHarmless() throws {
    let deep = String(repeating: "[", count: 100_000)
    let dashes = String(repeating: "- ", count: 100_000)
    for line in [deep, dashes, "&a [*a]", "!!python/object x", "? " + dashes, "|"] {
      let card = try #require(try card("---\nlicense: mit\ntags: \(line)\nbase_model:\n\(line)\nlanguage: en\n---\n"))
      #expect(card.license == "mit" && card.languages == ["en"])
    }
    let many = (0..<100_000).map { "- t\($0)" }.joined(separator: "\n")
    let card = try #require(try card("---\ntags:\n\(many)\n---\n"))
    #expect(card.tags.count > 1000 && card.tags.count < 10_000)
  }
}
