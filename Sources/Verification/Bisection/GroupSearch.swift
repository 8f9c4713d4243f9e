/// Group testing: finds the smallest set of elements that explains an effect, by restoring whole groups at a time and halving
/// those that matter. One culprit among n is found in about 2·log₂ n tests. Nothing is random.
package struct GroupSearch {
  /// A set of elements that are tested together, and the smaller ones it is made of; an element by itself has none.
  package struct Group: Sendable, Equatable {
    package let name: String
    package let elements: [Int]
    package let children: [Group]

    package init(_ name: String, _ elements: [Int]) { (self.name, self.elements, children) = (name, elements, []) }

    package init(_ name: String, _ children: [Group]) {
      self.name = name
      self.elements = children.flatMap(\.elements)
      self.children = children
    }

    fileprivate func name(of element: Int) -> String? {
      if children.isEmpty { return elements == [element] ? name : nil }
      return children.lazy.compactMap { $0.name(of: element) }.first
    }

    /// Tests on the longest way down to an element.
    fileprivate var wayDown: Int { children.isEmpty ? 0 : children.count + (children.map(\.wayDown).max() ?? 0) }
  }

  /// What part of the effect is gone when a set is restored: 1 is all of it; below 0 the effect has grown.
  package struct Share: Sendable, Equatable {
    package let value: Double
    /// Nil when it cannot be estimated.
    package let standardError: Double?

    package init(value: Double, standardError: Double?) {
      self.value = value
      self.standardError = standardError
    }
  }

  package struct Test: Sendable, Equatable {
    package let name: String
    package let elements: [Int]
    package let share: Share
  }

  /// A set explains the effect when so much of it is gone.
  package static let target = 0.9
  /// Sets of more elements are not looked for: then it is no culprit but the whole.
  package static let mostCulprits = 4
  /// Sets of so many are tried without each of their members: the tensors of a layer.
  private static let mostMinimized = 9
  /// A half that has so much of its group's share leaves nothing for the other.
  private static let nearlyAll = 0.98

  /// All that were made, in order.
  package private(set) var tests: [Test] = []
  package let root: Group
  package let budget: Int

  /// - Parameter budget: most tests that are made; as many as four culprits can take when nil.
  package init(_ root: Group, budget: Int? = nil) {
    self.root = root
    self.budget = budget ?? Self.cost(root)
  }

  /// The most tests that a search can take: the whole; for each culprit the groups on the way to it and the set it makes
  /// with those before; and a layer without each of its tensors.
  package static func cost(_ root: Group) -> Int {
    1 + mostCulprits * (root.wayDown + 1) + mostMinimized
  }

  /// The smallest set that was tested and explains the effect; nil when not even the whole does.
  package var smallest: Test? {
    tests.filter { $0.share.value >= Self.target }.min {
      ($0.elements.count, -$0.share.value) < ($1.elements.count, -$1.share.value)
    }
  }

  private mutating func test(
    _ name: String, _ elements: [Int], _ measure: ([Int]) throws -> Share
  ) rethrows -> Share {
    if let known = tests.first(where: { $0.elements == elements }) { return known.share }
    let share = try measure(elements)
    tests.append(Test(name: name, elements: elements, share: share))
    return share
  }

  private var isSpent: Bool { tests.count >= budget }

  /// Searches best first: always on with the group that explains most, until the elements found explain the effect, or no
  /// four of them could.
  package mutating func run(_ measure: ([Int]) throws -> Share) rethrows {
    guard !root.elements.isEmpty, !isSpent else { return }
    let whole = try test(root.name, root.elements, measure)
    guard whole.value >= Self.target else { return }
    var open = [(group: root, share: whole)]
    var found: [(group: Group, share: Share)] = []
    var joint = 0.0
    while !isSpent, joint < Self.target,
      let best = open.indices.max(by: { open[$0].share.value < open[$1].share.value })
    {
      let (group, share) = open.remove(at: best)
      // Shares of sets are at most about the sum of their members': then no set that is small enough can do it.
      let left = Double(Self.mostCulprits - found.count)
      guard share.value > 2 * (share.standardError ?? 0), joint + left * share.value >= Self.target else { break }
      guard group.children.isEmpty else {
        open += try split(group, share, measure)
        continue
      }
      found.append((group, share))
      let elements = found.flatMap(\.group.elements).sorted()
      joint = try found.count == 1 ? share.value : test(name(elements), elements, measure).value
    }
    try minimize(measure)
  }

  private mutating func split(
    _ group: Group, _ share: Share, _ measure: ([Int]) throws -> Share
  ) rethrows -> [(group: Group, share: Share)] {
    var parts: [(group: Group, share: Share)] = []
    for child in group.children where !isSpent {
      let own = try test(child.name, child.elements, measure)
      parts.append((child, own))
      if own.value >= Self.nearlyAll * share.value { break }
    }
    return parts
  }

  /// Leaves out of the smallest set, one after the other, what it does without: members that explain little by themselves
  /// may explain the effect only together, and then no way down to one of them shows it.
  private mutating func minimize(_ measure: ([Int]) throws -> Share) rethrows {
    guard let smallest, (2...Self.mostMinimized).contains(smallest.elements.count) else { return }
    var kept = smallest.elements
    for element in smallest.elements where kept.count > 1 && !isSpent {
      let rest = kept.filter { $0 != element }
      if try test(name(rest), rest, measure).value >= Self.target { kept = rest }
    }
  }

  private func name(_ elements: [Int]) -> String {
    elements.map { root.name(of: $0) ?? "\($0)" }.joined(separator: " and ")
  }
}
